"""LECO's and ai-toolkit's sliders become recipes as they are; what they left without effect has one."""

from __future__ import annotations

import pytest

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers import import_settings

LECO = """\
prompts_file: "./prompts.yaml"
pretrained_model:
  name_or_path: "stabilityai/stable-diffusion-2-1"
  v2: true
  v_pred: true
network:
  type: "lierla"
  rank: 16
  alpha: 1.0
  training_method: "noxattn"
train:
  precision: "bfloat16"
  noise_scheduler: "euler_a"
  iterations: 800
  lr: 1e-4
  optimizer: "AdamW8bit"
  lr_scheduler: "cosine"
  max_denoising_steps: 30
  batch_size: 4
save:
  name: "unreal"
  path: "./output"
  per_steps: 150
  precision: "float16"
logging:
  use_wandb: false
  verbose: false
other:
  use_xformers: true
"""
PROMPTS = """\
- target: "unreal engine"
  positive: "unreal engine"
  unconditional: ""
  neutral: ""
  action: "erase"
  guidance_scale: 1.5
  resolution: 768
  dynamic_resolution: true
  batch_size: 2
- target: "photo"
  unconditional: "render"
  action: "enhance"
  resolution: 768
  batch_size: 2
  dynamic_crops: true
"""
AI_TOOLKIT = """\
job: train
config:
  name: detail_slider_v1
  process:
    - type: slider
      network: {type: "lierla", linear: 8, linear_alpha: 4}
      train:
        noise_scheduler: "ddpm"
        steps: 500
        lr: 2e-4
        gradient_checkpointing: true
        train_unet: true
        train_text_encoder: false
        min_snr_gamma: 5.0
        optimizer: "adamw"
        lr_scheduler: "constant"
        max_denoising_steps: 40
        batch_size: 1
        dtype: bf16
        noise_offset: 0.0
      model: {name_or_path: "runwayml/stable-diffusion-v1-5", is_v2: false, is_v_pred: false, is_xl: false}
      save: {dtype: float16, save_every: 50, max_step_saves_to_keep: 2}
      sample:
        sampler: "ddpm"
        sample_every: 20
        width: 512
        height: 512
        prompts:
          - "a woman in a coffee shop, blonde hair --m -5"
          - "a woman in a coffee shop, blonde hair --m 5"
          - "a golden retriever, --m 3"
        neg: "cartoon"
        seed: 42
        guidance_scale: 7
        sample_steps: 20
        network_multiplier: 1.0
      slider:
        resolutions: [[512, 512], [512, 768]]
        batch_full_slide: true
        targets:
          - target_class: "person"
            positive: "person, high detail"
            negative: "person, blurry"
            weight: 0.5
            shuffle: true
        anchors:
          - {prompt: "a cat", neg_prompt: "animal", multiplier: 0.2}
meta: {name: "[name]"}
"""


@pytest.fixture
def imported(tmp_path):
    def make(text, *, prompts=None, name="settings.yaml"):
        (tmp_path / name).write_text(text, "utf-8")
        if prompts is not None:
            (tmp_path / "prompts.yaml").write_text(prompts, "utf-8")
        return import_settings(tmp_path / name)

    return make


def test_lecos_settings_with_their_prompts(imported):
    made = imported(LECO, prompts=PROMPTS)
    r = made.recipe
    assert (made.trainer, r.kind, r.name, r.concepts) == ("leco", "slider", "unreal", ())
    assert (r.model.base, r.model.prediction) == ("stabilityai/stable-diffusion-2-1", "v_prediction")
    a = r.adapter
    assert (a.kind, a.rank, a.alpha, a.targets, a.exclude) == ("lora", 16, 1.0, "attention+mlp", ("*attn2*",))
    assert (r.train.precision, r.train.steps, r.train.batch, r.optimizer.lr) == ("bf16", 800, 2, 1e-4)
    assert (r.optimizer.name, r.schedule.kind, r.save.every_steps, r.save.dtype) == ("adamw8bit", "cosine", 150, "fp16")
    s = r.slider
    assert (s.sampler, s.steps, s.points, s.trajectories, s.both_ways) == ("euler a", 30, 8, "slider", False)
    assert (s.sizes, s.vary_sizes) == (((768, 768),), True)
    erase, enhance = s.prompts
    assert (erase.ends, erase.action, erase.guidance) == (("unreal engine", "", ""), "erase", 1.5)
    assert (enhance.ends, enhance.action, enhance.guidance) == (("photo", "render", "render"), "enhance", 1.0)
    assert [note.key for note in made.lost] == ["prompts.1.dynamic_crops"]


def test_lecos_prompts_alone_have_the_plans_numbers(imported):
    made = imported(PROMPTS, name="prompts.yaml")
    assert made.recipe.kind == "slider"
    assert len(made.recipe.slider.prompts) == 2
    assert "steps" not in made.recipe.train.model_fields_set


def test_lecos_defaults(imported):
    text = "prompts_file: prompts.yaml\npretrained_model: {name_or_path: x}\nnetwork: {}\ntrain: {}\n"
    r = imported(text, prompts="- target: van gogh\n  unconditional: ''\n").recipe
    assert (r.adapter.rank, r.adapter.alpha, r.train.steps, r.optimizer.lr) == (4, 1.0, 500, 1e-4)
    assert (r.slider.steps, r.slider.sampler, r.train.precision, r.save.dtype) == (50, "ddim", "bf16", "fp32")
    (prompt,) = r.slider.prompts
    assert (prompt.ends, prompt.action) == (("van gogh", "", ""), "erase")
    assert r.slider.sizes == ((512, 512),)


@pytest.mark.parametrize(
    ("method", "include", "exclude"),
    [
        ("full", (), ()),
        ("selfattn", ("*attn1*",), ()),
        ("xattn", ("*attn2*",), ()),
        ("noxattn", (), ("*attn2*",)),
        ("innoxattn", (), ("*attn2*",)),
    ],
)
def test_training_methods_choose_modules(imported, method, include, exclude):
    """In LECO they choose none, or all."""
    adapter = imported(LECO.replace("noxattn", method), prompts=PROMPTS).recipe.adapter
    assert (adapter.include, adapter.exclude) == (include, exclude)


def test_what_lecos_files_lack(imported):
    with pytest.raises(UsageError, match=r"prompts_file = './prompts.yaml' does not exist"):
        imported(LECO)
    with pytest.raises(UsageError, match="prompt 1 has no target"):
        imported(LECO, prompts="- target: a\n  positive: b\n- positive: b\n")
    with pytest.raises(UsageError, match="is not a list of prompts"):
        imported(LECO, prompts="target: a\n")
    made = imported(LECO.replace("rank: 16", "rang: 16"), prompts=PROMPTS)
    assert any(n.key == "network.rang" and "rank" in n.why for n in made.lost)


def test_ai_toolkits_slider(imported):
    made = imported(AI_TOOLKIT)
    r = made.recipe
    assert (made.trainer, r.kind, r.name, r.concepts) == ("ai-toolkit", "slider", "detail_slider_v1", ())
    assert (r.adapter.kind, r.adapter.rank, r.adapter.alpha, r.adapter.text) == ("lora", 8, 4.0, False)
    assert (r.train.steps, r.train.batch, r.train.precision, r.optimizer.lr) == (500, 1, "bf16", 2e-4)
    assert (r.loss.weighting.kind, r.loss.weighting.gamma) == ("min_snr", 5.0)
    assert (r.save.dtype, r.save.every_steps, r.save.keep_last) == ("fp16", 50, 2)
    s = r.slider
    assert (s.steps, s.sampler, s.trajectories, s.both_ways) == (40, "ddpm", "base", True)
    assert s.sizes == ((512, 512), (512, 768))
    (prompt,) = s.prompts
    assert prompt.ends == ("person, high detail", "person, blurry", "person")
    assert (prompt.target, prompt.weight, prompt.action) == ("person", 0.5, "enhance")
    (anchor,) = s.anchors
    assert (anchor.prompt, anchor.weight) == ("a cat", 0.2)
    assert r.sample.prompts == (
        "a woman in a coffee shop, blonde hair --w 512 --h 512 --d 42",
        "a golden retriever --w 512 --h 512 --d 42",
    )
    assert [note.key for note in made.lost] == ["slider.targets.0.shuffle"]


def test_ai_toolkits_concept_slider(imported):
    text = AI_TOOLKIT.split("      slider:")[0].replace("type: slider", "type: concept_slider") + (
        "      datasets: [{folder_path: photos}]\n"
        "      slider: {guidance_strength: 3.0, anchor_strength: 0.5, target_class: person, anchor_class: '',\n"
        "               positive_prompt: happy person, negative_prompt: sad person}\n"
    )
    made = imported(text)
    (prompt,) = made.recipe.slider.prompts
    assert (prompt.target, prompt.ends, prompt.guidance) == ("person", ("happy person", "sad person", "person"), 3.0)
    assert made.recipe.slider.anchors == ()
    assert not made.lost
    (anchor,) = imported(text.replace("anchor_class: ''", "anchor_class: cat")).recipe.slider.anchors
    assert (anchor.prompt, anchor.weight) == ("cat", 0.5)


def test_a_slider_without_prompts_is_refused(imported):
    with pytest.raises(UsageError, match=r"no `slider` table"):
        imported(AI_TOOLKIT.split("      slider:")[0])
    with pytest.raises(UsageError, match=r"slider.targets is empty"):
        imported(AI_TOOLKIT.split("      slider:")[0] + "      slider: {targets: []}\n")


def test_a_written_recipe_is_read_again(imported, tmp_path):
    from bakehouse.recipe import Recipe

    for text in (LECO, AI_TOOLKIT):
        made = imported(text, prompts=PROMPTS)
        (tmp_path / "recipe.toml").write_text(made.to_toml(), "utf-8")
        assert Recipe.load(tmp_path / "recipe.toml") == made.recipe
