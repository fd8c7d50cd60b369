"""OneTrainer's settings: its own words, its own defaults, and what it trains that bakehouse does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers import onetrainer_converters as converters

ONETRAINER = {
    "__version": 6,
    "training_method": "LORA",
    "model_type": "STABLE_DIFFUSION_XL_10_BASE",
    "base_model_name": "stabilityai/stable-diffusion-xl-base-1.0",
    "concept_file_name": "concepts.json",
    "debug_mode": False,
    "aspect_ratio_bucketing": True,
    "latent_caching": True,
    "learning_rate_scheduler": "COSINE",
    "learning_rate": 0.0003,
    "learning_rate_warmup_steps": 50,
    "epochs": 20,
    "batch_size": 4,
    "gradient_accumulation_steps": 2,
    "ema": "GPU",
    "ema_decay": 0.998,
    "train_dtype": "BFLOAT_16",
    "output_dtype": "FLOAT_16",
    "resolution": "1024",
    "offset_noise_weight": 0.05,
    "loss_weight_fn": "MIN_SNR_GAMMA",
    "loss_weight_strength": 4.0,
    "min_noising_strength": 0.1,
    "max_noising_strength": 0.9,
    "unet": {"train": True, "learning_rate": 0.0002, "weight_dtype": "FLOAT_16"},
    "text_encoder": {"train": False},
    "text_encoder_2": {"train": False},
    "text_encoder_layer_skip": 1,
    "lora_rank": 32,
    "lora_alpha": 16.0,
    "layer_filter_preset": "attn-mlp",
    "optimizer": {"optimizer": "ADAMW_8BIT", "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.02, "fused": False},
    "save_every": 2,
    "save_every_unit": "EPOCH",
    "tensorboard": True,
    "gradient_checkpointing": "ON",
    "wibble": 3,
}
CONCEPTS = [
    {"name": "zwx person", "path": "img/10_zwx person", "balancing": 2.0, "image": {"enable_random_flip": True},
     "text": {"enable_tag_shuffling": True, "keep_tags_count": 1}},
    {"name": "off", "path": "img/3_hzn hat", "enabled": False},
]  # fmt: skip


def test_onetrainer(imported, bench, lost):
    (bench / "concepts.json").write_text(json.dumps(CONCEPTS))
    made = imported(json.dumps(ONETRAINER), "one.json")
    r = made.recipe
    assert made.trainer == "onetrainer"
    assert list(lost(made)) == ["wibble"]
    assert [(c.subject, c.repeats) for c in r.concepts] == [("zwx person", 2)]
    assert (r.captions.shuffle, r.captions.keep_tokens, r.data.flip) == (True, 1, True)
    assert (r.adapter.rank, r.adapter.alpha, r.adapter.targets, r.adapter.text) == (32, 16, "attention+mlp", False)
    assert (r.optimizer.name, r.optimizer.lr, r.optimizer.args) == (
        "adamw8bit",
        0.0002,
        {"betas": [0.9, 0.99], "weight_decay": 0.02},
    )
    assert (r.train.epochs, r.train.batch, r.train.accumulation, r.train.ema) == (20, 4, 2, 0.998)
    assert (r.train.precision, r.save.dtype, r.save.every_epochs) == ("bf16", "fp16", 2)
    assert (r.schedule.kind, r.schedule.warmup, r.model.clip_skip) == ("cosine", 25, 2)  # counted in batches there
    assert (r.noise.offset, r.noise.min_timestep, r.noise.max_timestep) == (0.05, 100, 900)
    assert (r.loss.weighting.kind, r.loss.weighting.gamma) == ("min_snr", 4.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "FLUX_DEV_1"}, r"trains FLUX\.1 \(model_type"),
        ({"model_type": "ANIMA"}, "trains Anima"),
        ({"model_type": "STABLE_DIFFUSION_35"}, r"Stable Diffusion 3\.5"),
        ({"model_type": "STABLE_DIFFUSION_15_INPAINTING"}, "an inpainting model"),
        ({"model_type": "STABLE_DIFFUSION_20_DEPTH"}, "a depth model"),
        ({"model_type": "WIBBLE"}, "is not supported"),
        ({"training_method": "EMBEDDING"}, "textual inversion"),
        ({"training_method": "FINE_TUNE_VAE"}, "trains the VAE"),
    ],
)
def test_what_is_not_trained_here_is_refused_by_name(imported, change, words):
    with pytest.raises(UsageError, match=words):
        imported(json.dumps({**ONETRAINER, **change}), "one.json")


def of(imported, **settings):
    return imported(json.dumps({"training_method": "LORA", **settings}), "one.json", images=Path("img"), subject="zwx")


def test_what_is_not_written_has_onetrainers_own_values(imported, lost):
    """As its TrainConfig.default_values() gives them: a file of one key is a whole training there."""
    made = of(imported)
    r = made.recipe
    assert (r.train.epochs, r.train.batch, r.train.accumulation, r.train.precision) == (100, 1, 1, "fp16")
    assert (r.save.dtype, r.save.every_epochs, r.save.tensorboard, r.train.max_grad_norm) == ("fp32", 0, True, 1.0)
    assert (r.adapter.kind, r.adapter.rank, r.adapter.alpha, r.adapter.targets) == ("lora", 16, 1.0, "full")
    assert (r.adapter.unet, r.adapter.text, r.train.gradient_checkpointing) == (True, True, True)
    assert (r.optimizer.name, r.optimizer.lr, r.optimizer.text_lr) == ("adamw", 3e-6, 3e-6)
    assert (r.schedule.kind, r.schedule.warmup, r.schedule.warmup_from_zero) == ("constant", 200, True)
    assert (r.model.base, r.buckets.resolution) == ("stable-diffusion-v1-5/stable-diffusion-v1-5", 512)
    assert (r.loss.masked, r.loss.kind, r.train.ema, r.noise.max_timestep) == (False, "l2", 0.0, 1000)
    assert made.origins["train.epochs"] == "OneTrainer's default of epochs"
    # The text encoder stops after 30 of those 100 epochs there, and that is all that is lost.
    assert list(lost(made)) == ["text_encoder.stop_training_after"]
    full = imported('{"training_method": "FINE_TUNE", "epochs": 5}', "one.json", images=Path("img"), subject="zwx")
    assert (full.recipe.adapter.kind, full.lost) == ("full", ())


def test_every_key_at_its_default_is_worth_no_line(imported):
    """What the window writes: all its keys."""
    settings = dict(converters.DEFAULTS["settings"])
    parts = {name: {} for name in ("unet", "text_encoder", "text_encoder_2", "vae", "prior", "transformer")}
    for key in [k for k in settings if "." in k]:
        part, _, name = key.partition(".")
        parts[part][name] = settings.pop(key)
    made = of(imported, **{**settings, **parts, "training_method": "LORA", "epochs": 20})
    assert not [str(n) for n in made.notes if n.status not in ("set", "no effect")]
    assert not made.lost
    assert len([n for n in made.notes if n.status == "no effect"]) <= 3


def test_old_files_are_read_under_their_old_names(imported):
    made = of(
        imported,
        train_text_encoder=False,
        unet_learning_rate=2e-4,
        min_snr_gamma=5,
        gradient_checkpointing=False,
        save_after=3,
        save_after_unit="EPOCH",
        optimizer="ADAMW",
        optimizer_beta2=0.99,
        lora_layers="attn1,attn2",
    )
    r = made.recipe
    assert (r.adapter.text, r.optimizer.lr, r.loss.weighting.kind, r.loss.weighting.gamma) == (
        False,
        2e-4,
        "min_snr",
        5,
    )
    assert (r.train.gradient_checkpointing, r.save.every_epochs) == (False, 3)
    assert r.optimizer.args == {"betas": [0.9, 0.99]}
    assert (r.adapter.targets, r.adapter.include) == ("full", ("*attn1*", "*attn2*"))
    assert made.origins["optimizer.lr"] == "unet_learning_rate"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"learning_rate_scheduler": "REX"}, {"kind": "rex", "rex_d": 0.9}),
        (
            {"learning_rate_scheduler": "COSINE_WITH_RESTARTS", "learning_rate_cycles": 2},
            {"kind": "cosine", "half_period": 0.25},
        ),
        (
            {"learning_rate_scheduler": "COSINE_WITH_HARD_RESTARTS", "learning_rate_cycles": 3.0},
            {"kind": "cosine_with_restarts", "cycles": 3},
        ),
        (
            {"learning_rate_scheduler": "COSINE_WITH_HARD_RESTARTS", "learning_rate_cycles": 2.5},
            {"kind": "cosine_with_restarts", "cycle_steps": 0.4},
        ),
        ({"learning_rate_warmup_steps": 100, "gradient_accumulation_steps": 3}, {"warmup": 33}),
        ({"learning_rate_warmup_steps": 0.1}, {"warmup": 0.1}),
        (
            {"learning_rate_scheduler": "COSINE", "optimizer": {"optimizer": "SCHEDULE_FREE_ADAMW"}},
            {"kind": "constant", "warmup": 200},
        ),
        ({"learning_rate_scheduler": "LINEAR", "learning_rate_min_factor": 0.2}, {"kind": "linear", "floor": 0.2}),
    ],
)
def test_onetrainers_schedules(imported, settings, expected):
    schedule = of(imported, epochs=20, **settings).recipe.schedule
    assert {k: getattr(schedule, k) for k in expected} == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"name": "adamw", "args": {}}),
        (
            {"optimizer": {"optimizer": "PRODIGY"}},
            {
                "name": "prodigy",
                "args": {
                    "weight_decay": 0,
                    "d_coef": 1.0,
                    "decouple": False,
                    "use_bias_correction": False,
                    "safeguard_warmup": False,
                },
            },
        ),
        ({"optimizer": {"optimizer": "LION", "weight_decay": 0.1}}, {"name": "lion", "args": {"weight_decay": 0.1}}),
        ({"optimizer": {"optimizer": "SCHEDULE_FREE_ADAMW"}}, {"name": "adamwschedulefree"}),
        ({"learning_rate_scaler": "BOTH", "batch_size": 8, "gradient_accumulation_steps": 2, "learning_rate": 1e-4},
         {"lr": 4e-4}),
    ],
)  # fmt: skip
def test_onetrainers_optimizers(imported, settings, expected):
    optimizer = of(imported, epochs=20, **settings).recipe.optimizer
    assert {k: getattr(optimizer, k) for k in expected} == expected


def test_onetrainers_masks_losses_and_timesteps(imported, lost):
    r = of(imported, epochs=20, masked_training=True).recipe
    assert (r.loss.unmasked_probability, r.loss.unmasked_weight, r.loss.mask_average) == (0.1, 0.1, "image")
    made = of(
        imported,
        epochs=20,
        masked_training=True,
        normalize_masked_area_loss=True,
        mse_strength=0.0,
        mae_strength=1.0,
        loss_weight_fn="DEBIASED_ESTIMATION",
        timestep_distribution="LOGIT_NORMAL",
        noising_weight=0.5,
        noising_bias=-0.3,
    )
    r = made.recipe
    assert (r.loss.mask_average, r.loss.kind, r.loss.weighting.form) == ("mask", "l1", "onetrainer")
    assert (r.noise.timesteps.density, r.noise.timesteps.std, r.noise.timesteps.mean) == ("logit_normal", 1.5, -0.3)
    assert not made.lost
    mixed = of(imported, epochs=20, mae_strength=0.5, perturbation_noise_weight=0.1, timestep_distribution="BETA")
    assert set(lost(mixed)) == {"mae_strength", "perturbation_noise_weight", "timestep_distribution"}
    r = of(
        imported,
        epochs=20,
        timestep_distribution="INVERTED_PARABOLA",
        noising_weight=7.7,
        noising_bias=-0.05,
        timestep_shift=2,
    ).recipe
    steps = r.noise.timesteps
    assert (steps.density, steps.weight, steps.center, steps.shift) == ("inverted_parabola", 7.7, 0.45, 2)


def test_a_text_encoder_of_two_that_learns_alone_is_named(imported, lost):
    made = of(imported, epochs=20, model_type="STABLE_DIFFUSION_XL_10_BASE", text_encoder={"train": False})
    assert made.recipe.adapter.text
    assert "only text_encoder_2 would be trained" in lost(made)["text_encoder.train"]


def test_a_concepts_own_settings_that_are_lost_are_named(imported, lost):
    concept = {**CONCEPTS[0], "loss_weight": 0.5, "text": {"prompt_source": "filename"}}
    prior = {"type": "PRIOR_PREDICTION", "name": "prior", "path": "reg/1_person", "loss_weight": 0.7}
    made = imported(json.dumps({**ONETRAINER, "concepts": [concept, prior]}), "one.json")
    assert len(made.recipe.concepts) == 1
    assert {"concepts: zwx person: loss_weight", "concepts: zwx person: text.prompt_source"} <= set(lost(made))
    prior_spec = made.recipe.prior
    assert (prior_spec.source, prior_spec.target, prior_spec.weight) == ("folder", "base", 0.7)
    assert prior_spec.folder.name == "1_person"
    validation = {**CONCEPTS[0], "type": "VALIDATION", "name": "held out"}
    made = imported(json.dumps({**ONETRAINER, "concepts": [CONCEPTS[0], validation]}), "one.json")
    assert (len(made.recipe.concepts), "concepts: held out" in lost(made)) == (1, True)


def test_a_file_of_concepts_that_is_none_is_refused(imported, bench):
    (bench / "concepts.json").write_text('{"a": 1}')
    with pytest.raises(UsageError, match="not a list of tables"):
        imported(json.dumps(ONETRAINER), "one.json")


@pytest.mark.parametrize("odd", [None, "", 3, "abc", [], {}, [None], [1], {"a": 1}, float("nan"), 1e400, True])
@pytest.mark.parametrize("at", ["concepts", "samples", "optimizer", "resolution", "epochs", "learning_rate", "unet"])
def test_a_value_of_another_type_never_breaks_the_import(imported, at, odd):
    settings = {"training_method": "LORA", "concepts": CONCEPTS, at: odd}
    try:
        imported(json.dumps(settings), "one.json", images=Path("img"))
    except UsageError as e:
        assert e.hint


@pytest.mark.parametrize("key", ["path", "name", "balancing", "image", "text", "enabled"])
@pytest.mark.parametrize("odd", [3, "abc", [1], {"a": 1}, float("nan")])
def test_nor_does_one_inside_a_concept(imported, key, odd):
    try:
        imported(json.dumps({**ONETRAINER, "concepts": [{**CONCEPTS[0], key: odd}]}), "one.json", images=Path("img"))
    except UsageError as e:
        assert key in str(e) or "table" in str(e)
