"""ai-toolkit's settings: its own words, its own defaults, and what it does that bakehouse does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers import ai_toolkit

AI_TOOLKIT = """
job: extension
config:
  name: zwx_v1
  process:
    - type: sd_trainer
      training_folder: output
      device: cuda:0
      trigger_word: zwx
      network: {type: lora, linear: 16, linear_alpha: 8, conv: 8, conv_alpha: 4}
      save: {dtype: float16, save_every: 250, max_step_saves_to_keep: 4, push_to_hub: false}
      datasets:
        - folder_path: img
          caption_ext: txt
          caption_dropout_rate: 0.05
          shuffle_tokens: true
          cache_latents_to_disk: true
          resolution: [512, 768]
      train:
        batch_size: 2
        steps: 2000
        gradient_accumulation_steps: 2
        train_unet: true
        train_text_encoder: false
        gradient_checkpointing: true
        noise_scheduler: ddpm
        optimizer: adamw8bit
        lr: 1e-4
        ema_config: {use_ema: true, ema_decay: 0.99}
        dtype: bf16
        wibble: 3
      model:
        name_or_path: stabilityai/stable-diffusion-xl-base-1.0
        is_xl: true
      sample:
        sampler: ddpm
        sample_every: 250
        width: 1024
        height: 768
        prompts: ["[trigger] in a park", "a cat"]
        neg: blurry
        seed: 42
        walk_seed: true
        guidance_scale: 6
        sample_steps: 25
meta: {name: "[name]", version: "1.0"}
"""


def test_ai_toolkit(imported, lost):
    made = imported(AI_TOOLKIT, "job.yaml")
    r = made.recipe
    assert made.trainer == "ai-toolkit"
    assert set(lost(made)) == {"train.wibble", "datasets.0.resolution"}
    assert (r.name, r.concepts[0].subject, r.train.steps, r.train.batch, r.train.accumulation) == (
        "zwx_v1",
        "zwx",
        2000,
        2,
        2,
    )
    assert (r.adapter.rank, r.adapter.alpha, r.adapter.conv_rank, r.adapter.conv_alpha) == (16, 8, 8, 4)
    assert (r.adapter.targets, r.adapter.text, r.optimizer.name, r.optimizer.lr) == ("full", False, "adamw8bit", 1e-4)
    assert (r.save.dtype, r.save.every_steps, r.save.keep_last, r.train.ema) == ("fp16", 250, 4, 0.99)
    assert r.sample.prompts == ("zwx in a park --w 1024 --h 768 --d 42", "a cat --w 1024 --h 768 --d 43")
    assert (r.sample.negative, r.sample.steps, r.sample.guidance, r.sample.at_start) == ("blurry", 25, 6, True)
    assert (r.captions.caption_dropout, r.captions.shuffle, r.buckets.resolution) == (0.05, True, 768)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("is_xl: true", "is_flux: true", r"trains FLUX\.1 \(is_flux"),
        ("is_xl: true", "is_v3: true", "Stable Diffusion 3"),
        ("is_xl: true", "arch: hidream", "the family 'hidream'"),
        ("type: sd_trainer", "type: ultimate_slider_trainer", "trains a slider, from pairs of prompts"),
        ("type: sd_trainer", "type: textual_inversion_trainer", "an embedding"),
        ("type: sd_trainer", "type: wibble", "process type 'wibble' is not supported"),
        ("job: extension", "job: generate", "bakehouse generate"),
        ("job: extension", "job: extract", "bakehouse weights extract"),
        ("noise_scheduler: ddpm", "noise_scheduler: flowmatch", "with flow matching"),
        ("    - type: sd_trainer", "    - type: sd_trainer\n    - type: sd_trainer", "lists 2 processes"),
        ("config:", "wibble:\n  a: 1\nconfig: 3\nrest:", "is not a table"),
    ],
)
def test_what_is_not_trained_here_is_refused_by_name(imported, old, new, words):
    assert old in AI_TOOLKIT
    with pytest.raises(UsageError, match=words):
        imported(AI_TOOLKIT.replace(old, new, 1), "job.yaml")


def of(imported, train="", network="", **parts):
    """A job of few words: what is not written is ai-toolkit's own."""
    lines = ["job: extension", "config:", "  name: zwx", "  process:", "    - type: sd_trainer"]
    lines += [f"      train: {{{train}}}", "      datasets: [{folder_path: img}]"]
    lines += [f"      network: {{{network}}}"] if network else []
    lines += [f"      {name}: {{{text}}}" for name, text in parts.items()]
    return imported("\n".join(lines), "job.yaml", subject="zwx person")


def test_what_is_not_written_has_ai_toolkits_own_values(imported, lost):
    made = of(imported, network="type: lora")
    r = made.recipe
    assert (r.train.steps, r.train.batch, r.optimizer.lr, r.optimizer.name) == (1000, 1, 1e-6, "adamw")
    assert (r.adapter.rank, r.adapter.alpha, r.adapter.text) == (4, 1.0, False)
    assert (r.train.precision, r.save.dtype, r.save.every_steps, r.save.keep_last) == ("fp32", "fp16", 1000, 5)
    assert (r.train.gradient_checkpointing, r.train.max_grad_norm) == (True, 1.0)
    assert (r.noise.min_timestep, r.noise.max_timestep) == (2, 999)
    assert (r.optimizer.args, r.model.prediction) == ({"eps": 1e-6}, "epsilon")
    assert r.buckets.resolution == 512
    assert not lost(made)
    assert of(imported).recipe.adapter.kind == "full"


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("lr_scheduler: cosine", {"kind": "cosine", "half_period": None}),
        ("lr_scheduler: cosine, lr_scheduler_params: {T_max: 300}", {"kind": "cosine", "half_period": 300}),
        (
            "lr_scheduler: cosine_with_restarts, lr_scheduler_params: {T_0: 50, T_mult: 2}",
            {"kind": "cosine_with_restarts", "cycle_steps": 50, "cycle_growth": 2},
        ),
        ("lr_scheduler: constant_with_warmup", {"kind": "constant", "warmup": 1000, "warmup_from_zero": True}),
    ],
)
def test_ai_toolkits_schedules(imported, train, expected):
    schedule = of(imported, train=train).recipe.schedule
    assert {k: getattr(schedule, k) for k in expected} == expected


def test_a_linear_schedule_rises_there(imported, lost):
    made = of(imported, train="lr_scheduler: linear")
    assert "rises from a third" in lost(made)["train.lr_scheduler"]


def test_ai_toolkits_losses_weights_and_timesteps(imported, lost):
    r = of(imported, train="loss_type: pseudo_huber, min_snr_gamma: 5, content_or_style: style").recipe
    assert (r.loss.kind, r.loss.huber_c, r.loss.huber_schedule) == ("smooth_l1", 0.01, "constant")
    assert (r.loss.weighting.kind, r.loss.weighting.gamma) == ("min_snr", 5)
    assert (r.noise.timesteps.density, r.noise.timesteps.power) == ("power", 3)
    assert of(imported, train="content_or_style: content").recipe.noise.timesteps.mirrored
    assert of(imported, train="snr_gamma: 5").recipe.loss.weighting.kind == "x0"
    made = of(imported, train="min_snr_gamma: 5, content_or_style: wibble", model="is_v_pred: true")
    assert made.recipe.model.prediction == "v_prediction"
    assert set(lost(made)) == {"train.min_snr_gamma", "train.content_or_style"}


def test_ai_toolkits_prodigy_begins_at_one(imported):
    optimizer = of(imported, train="optimizer: prodigy, lr: 1e-4").recipe.optimizer
    assert (optimizer.lr, optimizer.args["d_coef"], optimizer.args["eps"]) == (1.0, 1.0, 1e-6)


def test_ai_toolkits_lokr_is_of_full_rank(imported):
    r = of(imported, network="type: lokr, lokr_factor: 8, network_kwargs: {only_if_contains: [attn2]}").recipe
    assert (r.adapter.full_matrix, r.adapter.factor, r.adapter.include) == (True, 8, ("*attn2*",))


def test_details_of_what_is_off_are_worth_no_line(imported, lost):
    """As its window writes them: masks without a mask, preservation that is off."""
    train = "diff_output_preservation: false, diff_output_preservation_class: person"
    assert not lost(of(imported, train=train))
    on = of(imported, train=train.replace("false", "true"))
    assert set(lost(on)) == {"train.diff_output_preservation", "train.diff_output_preservation_class"}
    text = AI_TOOLKIT.replace("resolution: [512, 768]", "resolution: 512\n          mask_min_value: 0.1")
    assert imported(text, "job.yaml").recipe.loss.unmasked_weight == 0
    made = imported(text.replace("mask_min_value: 0.1", "mask_min_value: 0.1\n          alpha_mask: true"), "job.yaml")
    assert (made.recipe.loss.unmasked_weight, made.recipe.data.alpha_mask) == (0.1, True)


def test_images_without_a_caption_have_the_default_one(imported):
    text = AI_TOOLKIT.replace("trigger_word: zwx", "trigger_word: null")
    text = text.replace("caption_ext: txt", "default_caption: a red hat")
    assert imported(text, "job.yaml").recipe.concepts[0].subject == "a red hat"


def test_every_key_at_its_default_is_worth_no_line(imported, lost):
    """Defaults are ai-toolkit's own; keys that no one knows are named."""
    keys = {k.partition(".")[2]: v for k, v in ai_toolkit.DEFAULTS.items() if k.startswith("train.")}
    keys = {k: v for k, v in keys.items() if v is not None and "." not in k}
    made = of(imported, train=json.dumps(keys)[1:-1])
    assert len(keys) > 100
    assert not made.lost
    assert not [n for n in made.notes if n.status != "set"]
    assert set(lost(of(imported, train="wibble: 3, learnable_snr_gos: true"))) == {
        "train.wibble",
        "train.learnable_snr_gos",
    }


ODD = ["3", "abc", "[]", "[1]", "{a: 1}", "[null]", ".nan", ".inf", "null", "true"]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("part", ["train", "network", "model", "sample", "save", "datasets", "job", "config"])
def test_a_part_of_another_type_never_breaks_the_import(imported, part, odd):
    data = yaml.safe_load(AI_TOOLKIT)
    home = data if part in data else data["config"]["process"][0]
    home[part] = yaml.safe_load(odd)
    try:
        imported(yaml.safe_dump(data), "job.yaml", images=Path("img"))
    except UsageError as e:
        assert e.hint


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    "key", ["train.optimizer_params", "train.lr_scheduler_params", "network.network_kwargs", "sample.samples"]
)
def test_nor_does_a_table_inside_of_one(imported, key, odd):
    data = yaml.safe_load(AI_TOOLKIT)
    part, name = key.split(".")
    data["config"]["process"][0][part][name] = yaml.safe_load(odd)
    made = imported(yaml.safe_dump(data), "job.yaml", images=Path("img"))
    assert any(note.key == key for note in made.notes) or odd in ("null", "[]")
