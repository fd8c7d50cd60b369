"""Every setting of a recipe changes the training, or says what it lacks, or belongs to something else than training."""

import contextlib
import json
import random

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

from bakehouse.adapters import AdapterSpec, NetworkSpec, inject, save_adapter
from bakehouse.cli.main import main
from bakehouse.core.errors import Problems
from bakehouse.core.setting_needs import needs_of, value_at, without_effect
from bakehouse.core.settings import set_dotted
from bakehouse.data.captions import training_caption
from bakehouse.losses import Batch, DenoisingLoss
from bakehouse.models.denoiser import Conditioning
from bakehouse.models.model_facts import model_facts
from bakehouse.models.model_reference import resolve_model
from bakehouse.recipe import Recipe, make_plan, recipe_for_folder
from tests.conftest import TINY_UNET
from tests.recipe.conftest import TEXT as ENCODER
from tests.recipe.conftest import UNET
from tools.write_recipe_docs import _specs

ELSEWHERE = {
    "what is asked": ("version", "name", "kind", "model.base", "concepts.folder", "seed", "model.conventions"),
    "the model that is loaded": ("model.vae", "model.prediction", "model.quantize", "model.max_tokens", "adapter.kind"),
    "how it is computed, to the same end": (
        "data.cache", "train.device", "train.precision", "train.gradient_checkpointing",
        "train.compile", "train.channels_last", "train.attention", "train.fused_backward", "train.devices",
    ),
    "read by the loop as they are": ("train.max_grad_norm", "train.ema", "data.flip", "stop.when"),
    "a file to go on from": ("adapter.start",),
    "pictures on the way": ("sample.prompts", "sample.steps", "sample.guidance", "sample.sampler"),
    "what is saved": (
        "save.every_epochs", "save.every_steps", "save.dtype", "save.state_every_seconds", "save.tensorboard",
        "save.mirror",
    ),
    "the judgement": (
        "evaluate.weights", "evaluate.checkpoints", "evaluate.images", "evaluate.holdout", "evaluate.steps",
        "evaluate.guidance", "evaluate.seed", "evaluate.description", "evaluate.sampler", "evaluate.prompts",
        "evaluate.quality",
    ),
    "captions compiled, tests/data/test_triggers.py": (
        "triggers.word", "triggers.kind", "triggers.class_word", "triggers.folders", "triggers.when",
        "triggers.strategy", "triggers.absorbs", "triggers.keeps", "triggers.share", "triggers.also_without",
        "triggers.also_bare",
    ),
    "groups of images, tests/recipe/test_groups.py": ("concepts.outfit", "concepts.over", "concepts.characters"),
    "sliders, tests/training/test_slider.py": (
        "concepts.strength", "slider.prompts.target", "slider.prompts.positive", "slider.prompts.negative",
        "slider.prompts.neutral", "slider.prompts.action", "slider.prompts.guidance", "slider.prompts.weight",
        "slider.keep", "slider.anchors.prompt", "slider.anchors.weight", "slider.both_ways", "slider.sizes",
        "slider.vary_sizes", "slider.trajectories", "slider.points", "slider.steps", "slider.guidance",
        "slider.sampler", "slider.strengths", "slider.images",
    ),
    "embeddings, tests/training/test_embedding.py": (
        "embedding.vectors", "embedding.init", "embedding.lr", "embedding.until", "embedding.keep_norm",
    ),
    "said of by its kind": ("loss.kind",),
}  # fmt: skip
"""Settings of which no lens below is a proof, and why."""

HUBER, CLASS = {"loss.kind": "huber"}, {"prior.source": "class", "prior.images": 2}
MASKS, MOVES = {"rich": True}, {"rich": True, "captions.shuffle": True}
ZERO = {"model.prediction": "v_prediction"}
LOGIT, LATER = {"noise.timesteps.density": "logit_normal"}, {"noise.timesteps.bias": "later"}
RESTARTS = {"schedule.kind": "annealed_cosine_with_restarts", "schedule.cycles": 3}
SLOPE = {"noise.timesteps.density": "slope"}
COOLED = {"schedule.kind": "warmup_stable_decay"}
CROPS = {"data.augment.random_crop": True, "data.augment.variants": 4}
FULL = {"adapter.targets": "full"}
TEXT = {"adapter.text": True}

ROWS = {
    # key: (a value, what it needs, where it shows)
    "concepts.subject": ("qvk cat", {"concepts.0.trigger": "qvk", "bare": True}, "caption"),
    "concepts.trigger": ("person", {**CLASS, "prior.prompt": None, "prior.source": "captions"}, "plan"),
    "concepts.class_word": ("cat", CLASS, "plan"),
    "concepts.repeats": (3, {}, "plan"),
    "model.clip_skip": (2, {}, "text"),
    "captions.shuffle": (True, {}, "caption"),
    "captions.keep_tokens": (1, MOVES, "caption"),
    "captions.keep_tokens_separator": ("|||", MASKS, "caption"),
    "captions.caption_dropout": (0.5, {}, "caption"),
    "captions.dropout_every_n_epochs": (2, {}, "caption"),
    "captions.tag_dropout": (0.5, {}, "caption"),
    "captions.token_warmup_min": (0, {"captions.token_warmup_step": 12}, "caption"),
    "captions.token_warmup_step": (12, {}, "caption"),
    "captions.wildcards": (True, MASKS, "caption"),
    "captions.secondary_separator": (";;;", MASKS, "caption"),
    "captions.prefix": ("photo of", {}, "caption"),
    "captions.suffix": ("in colour", {}, "caption"),
    "captions.separator": (";", MOVES, "caption"),
    "buckets.resolution": (96, {}, "plan"),
    "buckets.enabled": (False, {}, "plan"),
    "buckets.min": (64, {}, "plan"),
    "buckets.max": (64, {}, "plan"),
    "buckets.step": (64, {}, "plan"),
    "buckets.rule": ("kohya", {}, "plan"),
    "buckets.upscale": (False, {"buckets.resolution": 96}, "plan"),
    "data.alpha_mask": (True, MASKS, "mask"),
    "data.workers": (4, {}, None),
    "data.cache_gb": (2.0, {}, None),
    "data.cache_shards": (True, {}, None),
    "data.augment.random_crop": (True, {"data.cache": "none"}, "vary"),
    "data.augment.zoom": (2.0, {**CROPS, "data.augment.random_crop": True}, "vary"),
    "data.augment.face_crop": ([1, 2], {"data.cache": "none", **MASKS}, "vary"),
    "data.augment.color": (0.2, {"data.cache": "none"}, "vary"),
    "data.augment.variants": (2, CROPS, "vary"),
    "prior.source": ("class", {"prior.images": 2}, "plan"),
    "prior.images": (7, CLASS, "plan"),
    "prior.prompt": ("a cat", CLASS, "plan"),
    "prior.folder": ("class", {"prior.source": "folder"}, None),
    "prior.weight": (2.0, CLASS, "loss"),
    "prior.target": ("noise", CLASS, "loss"),
    "prior.per_image": (2.0, CLASS, "plan"),
    "prior.steps": (3, CLASS, "plan"),
    "prior.guidance": (2.0, CLASS, "plan"),
    "prior.sampler": ("euler", CLASS, "plan"),
    "prior.quality": ("masterpiece", CLASS, "plan"),
    "prior.negative": ("blurry", CLASS, "plan"),
    "evaluate.negative": ("blurry", {}, None),
    "loss.huber_c": (0.3, HUBER, "loss"),
    "loss.huber_schedule": ("constant", HUBER, "loss"),
    "loss.huber_scale": (2.0, HUBER, "loss"),
    "loss.masked": (False, MASKS, "loss"),
    "loss.mask_average": ("image", MASKS, "loss"),
    "loss.unmasked_weight": (0.5, MASKS, "loss"),
    "loss.unmasked_probability": (0.5, MASKS, "loss"),
    "loss.weighting.kind": ("min_snr", {}, "loss"),
    "loss.weighting.also": (["debiased"], {"loss.weighting.kind": "min_snr"}, "loss"),
    "loss.weighting.form": ("onetrainer", {**ZERO, "loss.weighting.kind": "debiased"}, "loss"),
    "loss.weighting.gamma": (2.0, {"loss.weighting.kind": "min_snr"}, "loss"),
    "loss.weighting.p2_gamma": (0.5, {"loss.weighting.kind": "p2"}, "loss"),
    "loss.weighting.p2_k": (2.0, {"loss.weighting.kind": "p2"}, "loss"),
    "loss.weighting.v_pred_like": (0.5, {}, "loss"),
    "noise.offset": (0.1, {}, "loss"),
    "noise.offset_random_strength": (True, {"noise.offset": 0.1}, "loss"),
    "noise.offset_adaptive": (0.1, {"noise.offset": 0.1}, "loss"),
    "noise.pyramid_iterations": (4, {}, "loss"),
    "noise.pyramid_discount": (0.5, {"noise.pyramid_iterations": 4}, "loss"),
    "noise.pyramid_random_strength": (True, {"noise.pyramid_iterations": 4}, "loss"),
    "noise.ip_gamma": (0.1, {}, "loss"),
    "noise.ip_random_strength": (True, {"noise.ip_gamma": 0.1}, "loss"),
    "noise.zero_terminal_snr": (True, ZERO, "loss"),
    "noise.min_timestep": (500, {}, "loss"),
    "noise.max_timestep": (500, {}, "loss"),
    "noise.timesteps.density": ("cosmap", {}, "loss"),
    "noise.timesteps.mean": (1.0, LOGIT, "loss"),
    "noise.timesteps.std": (2.0, LOGIT, "loss"),
    "noise.timesteps.mode_scale": (0.5, {"noise.timesteps.density": "mode"}, "loss"),
    "noise.timesteps.power": (2.0, {"noise.timesteps.density": "power"}, "loss"),
    "noise.timesteps.weight": (9.0, SLOPE, "loss"),
    "noise.timesteps.center": (0.1, {**SLOPE, "noise.timesteps.weight": 9.0}, "loss"),
    "noise.timesteps.mirrored": (True, {"noise.timesteps.density": "power"}, "loss"),
    "noise.timesteps.shift": (3.0, {}, "loss"),
    "noise.timesteps.bias": ("earlier", {}, "loss"),
    "noise.timesteps.bias_portion": (0.5, LATER, "loss"),
    "noise.timesteps.bias_multiplier": (9.0, LATER, "loss"),
    "noise.timesteps.bias_range": ([100, 300], {"noise.timesteps.bias": "range"}, "loss"),
    "optimizer.name": ("sgd", {}, "optimizer"),
    "optimizer.lr": (3e-4, {}, "optimizer"),
    "optimizer.text_lr": (3e-4, TEXT, "optimizer"),
    "optimizer.args": ({"betas": [0.8, 0.9]}, {}, "optimizer"),
    "schedule.kind": ("rex", {}, "schedule"),
    "schedule.warmup": (3, {}, "schedule"),
    "schedule.warmup_from_zero": (True, {"schedule.warmup": 3}, "schedule"),
    "schedule.cycles": (2, {"schedule.kind": "cosine_with_restarts"}, "schedule"),
    "schedule.cycle_steps": (2, {"schedule.kind": "cosine_with_restarts"}, "schedule"),
    "schedule.cycle_growth": (2.0, {"schedule.kind": "cosine_with_restarts", "schedule.cycle_steps": 2}, "schedule"),
    "schedule.half_period": (2, {"schedule.kind": "cosine"}, "schedule"),
    "schedule.decay": (0.5, RESTARTS, "schedule"),
    "schedule.rex_d": (0.9, {"schedule.kind": "rex"}, "schedule"),
    "schedule.power": (2.0, {"schedule.kind": "polynomial"}, "schedule"),
    "schedule.timescale": (5, {"schedule.kind": "inverse_sqrt"}, "schedule"),
    "schedule.cooldown": (0.5, COOLED, "schedule"),
    "schedule.cooldown_shape": ("linear", {**COOLED, "schedule.cooldown": 0.5}, "schedule"),
    "schedule.pieces": (
        [[0.5, 1.0], [1.0, 0.1]],
        {"schedule.kind": "piecewise", "schedule.pieces": [[1.0, 1.0]]},
        "schedule",
    ),
    "schedule.floor": (0.2, {}, "schedule"),
    "train.epochs": (5, {}, "plan"),
    "train.steps": (2, {}, "plan"),
    "train.batch": (3, {}, "plan"),
    "train.accumulation": (2, {}, "plan"),
    "train.offload": (True, {}, None),
    "train.shard": (True, {"train.devices": 2}, None),
    "stop.shown": (0.5, {"stop.when": "learned"}, None),
    "stop.patience": (2, {"stop.when": "learned"}, None),
    "stop.drift": (5.0, {"stop.when": "learned"}, None),
    "stop.images": (4, {"stop.when": "learned"}, None),
    "stop.change": (0.5, {"stop.when": "settled"}, None),
    "sample.negative": ("blurry", {"sample.prompts": ["a"]}, None),
    "sample.every_epochs": (2, {"sample.prompts": ["a"]}, None),
    "sample.every_steps": (2, {"sample.prompts": ["a"]}, None),
    "sample.at_start": (False, {"sample.prompts": ["a"]}, None),
    "sample.seed": (2, {"sample.prompts": ["a"]}, None),
    "save.keep_last": (1, {}, None),
    "adapter.unet": (False, TEXT, "adapter"),
    "adapter.text": (True, {}, "adapter"),
    "adapter.rank": (2, {"adapter.rank": 1}, "adapter"),
    "adapter.alpha": (1.0, {"adapter.rank": 1}, "adapter"),
    "adapter.conv_rank": (2, {**FULL, "adapter.rank": 1}, "adapter"),
    "adapter.conv_alpha": (1.0, FULL, "adapter"),
    "adapter.dropout": (0.5, {}, "adapter"),
    "adapter.rank_dropout": (0.5, {}, "adapter"),
    "adapter.module_dropout": (0.5, {}, "adapter"),
    "adapter.targets": ("attention", {}, "adapter"),
    "adapter.include": (["*attn1*"], {}, "adapter"),
    "adapter.exclude": (["*attn1*"], {}, "adapter"),
    "adapter.train_norm": (True, {}, "adapter"),
    "adapter.dims": ({"*attn1*": 2}, {}, "adapter"),
    "adapter.lora_plus_ratio": (4.0, {}, "adapter"),
    "adapter.max_norm": (0.01, {}, "adapter"),
    "adapter.dora": (True, {}, "adapter"),
    "adapter.wd_on_output": (True, {"adapter.dora": True}, "adapter"),
    "adapter.rs_lora": (True, {}, "adapter"),
    "adapter.lora_fa": (True, {}, "adapter"),
    "adapter.tucker": (True, {**FULL, "adapter.rank": 2}, "adapter"),
    "adapter.factor": (2, {"adapter.rank": 1}, "adapter"),
    "adapter.decompose_both": (True, {"adapter.rank": 1, "adapter.factor": 4}, "adapter"),
    "adapter.full_matrix": (True, {"adapter.factor": 2, "adapter.rank": 32}, "adapter"),
    "adapter.unbalanced_factorization": (True, {"adapter.rank": 1, "adapter.factor": 2}, "adapter"),
    "adapter.unit": (2, {"adapter.rank": 8}, "adapter"),
    "adapter.block_size": (8, {}, "adapter"),
    "adapter.block_count": (2, {}, "adapter"),
    "adapter.constraint": (1e-3, {}, "adapter"),
    "adapter.rescaled": (True, {}, "adapter"),
    "adapter.blocks.dims": ([2] * 25, {}, "adapter"),
    "adapter.blocks.alphas": ([2.0] * 25, {}, "adapter"),
    "adapter.blocks.conv_dims": ([2] * 25, FULL, "adapter"),
    "adapter.blocks.conv_alphas": ([2.0] * 25, FULL, "adapter"),
    "adapter.blocks.down_lr_weight": ("sine+.5", {}, "adapter"),
    "adapter.blocks.mid_lr_weight": ([0.5], {}, "adapter"),
    "adapter.blocks.up_lr_weight": ("cosine+.5", {}, "adapter"),
    "adapter.blocks.lr_zero_threshold": (0.6, {"adapter.blocks.down_lr_weight": "sine+.1"}, "adapter"),
}
ALSO = {
    "adapter.rank_dropout": ({"adapter.kind": "loha", "adapter.dora": True}, "with adapter.dora = true"),
    "adapter.train_norm": ({"adapter.targets": "attention"}, "without a norm in the adapter"),
    "adapter.exclude": ({}, "without a module that matches"),
    "adapter.dims": ({}, "without a module that matches"),
    "loss.unmasked_weight": ({"rich": True}, "trains on every image as a whole"),
    "loss.unmasked_probability": ({"rich": True}, "trains on every image as a whole"),
    "optimizer.lr": (
        {"adapter.text": True, "adapter.include": ["text_model*"], "optimizer.text_lr": 1e-4},
        "without a module of the UNet in the adapter and with optimizer.text_lr = 0.0001",
    ),
}
"""What more a setting may lack, and how that is said."""
NOTHING = {"adapter.exclude": ["*attn7*"], "adapter.dims": {"*attn7*": 4}} | dict.fromkeys(
    ("loss.unmasked_weight", "loss.unmasked_probability"), 1.0
)
"""Values that do nothing, where another would do something."""
EMBEDDING = {
    "embedding.init": "person", "embedding.lr": 0.01, "embedding.until": 0.5, "embedding.keep_norm": True,
}  # fmt: skip
LACKING = {
    "captions.shuffle": {"bare": True},
    "captions.token_warmup_step": {"bare": True},
    "captions.dropout_every_n_epochs": {"train.epochs": 1},
    "captions.caption_dropout": {"captions.caption_dropout": 1.0},
    "data.workers": {"data.cache": "none"},
    "data.cache_gb": {"data.cache": "none"},
    "data.cache_shards": {"data.cache": "none"},
    "data.augment.variants": {"data.cache": "none", "data.augment.color": 0.1},
    "buckets.min": {"buckets.enabled": False},
    "buckets.max": {"buckets.enabled": False},
    "buckets.rule": {"buckets.enabled": False},
    "buckets.upscale": {"buckets.enabled": False},
    "loss.weighting.kind": {"loss.weighting.kind": "epsilon"},
    "noise.offset": {**ZERO, "noise.zero_terminal_snr": True},
    "noise.pyramid_iterations": {**ZERO, "noise.zero_terminal_snr": True},
    "noise.zero_terminal_snr": {**ZERO, "zero": True},
    "noise.max_timestep": {**ZERO, "noise.zero_terminal_snr": True},
    "schedule.half_period": {"schedule.kind": "linear"},
    "noise.timesteps.density": {"noise.timesteps.density": "power", "noise.timesteps.power": 1.0},
    "noise.timesteps.bias": {"noise.timesteps.bias_multiplier": 1.0},
    "prior.weight": {},
    "evaluate.negative": {"evaluate.guidance": 1.0},
    "schedule.warmup": {"schedule.kind": "annealed_rex_with_restarts", "schedule.cycles": 5},
    "schedule.floor": {"schedule.kind": "constant"},
    "train.epochs": {"train.steps": 2},
    "train.steps": {"train.steps": 99, "train.epochs": 2},
    "optimizer.lr": {"adapter.unet": False, "adapter.text": True, "optimizer.text_lr": 1e-4},
    "optimizer.text_lr": {"adapter.text": False},
    "save.keep_last": {"save.every_epochs": 0},
    "model.clip_skip": None,  # SDXL: tests/recipe/test_refused_by_plan.py
    "concepts.subject": None,
    **{key: None for key in ROWS if key.startswith("adapter.")},
    "adapter.conv_rank": {},
    "adapter.conv_alpha": {},
    "adapter.wd_on_output": {},
    "adapter.text": {"adapter.include": ["*attn1*"]},
    "adapter.lora_plus_ratio": {"adapter.lora_fa": True},
    "adapter.block_size": {"adapter.block_count": 2},
    "adapter.tucker": {},
    "adapter.blocks.conv_dims": {},
    "adapter.blocks.alphas": {"adapter.kind": "ia3"},
    "adapter.blocks.dims": {"adapter.kind": "oft"},
    "adapter.blocks.conv_alphas": {},
    "adapter.blocks.lr_zero_threshold": {},
}
"""What a setting lacks, where the plain recipe has it; None: it needs another family of models."""
STARTED = "adapter.start"
RANKLESS, OF_RANKS = (
    {"ia3", "oft", "boft", "diff"},
    {f"blocks.{n}" for n in ("dims", "alphas", "conv_dims", "conv_alphas")},
)
NARROW = {key.removeprefix("adapter.") for key in ROWS if key.startswith("adapter.")} - {
    "targets",
    "train_norm",
    "full_matrix",
}
"""What shows on attention alone, which is sooner put on."""
OWNER = {
    "adapter.block_size": "oft", "adapter.block_count": "oft", "adapter.constraint": "oft", "adapter.rescaled": "oft",
    "adapter.factor": "lokr", "adapter.decompose_both": "lokr", "adapter.full_matrix": "lokr",
    "adapter.unbalanced_factorization": "lokr",
}  # fmt: skip
"""The kind that has a setting which LoRA has not."""
FITS = {"lokr": {"adapter.rank": 1, "adapter.factor": 4}, "dylora": {"adapter.unit": 1}}
"""What makes a setting count in networks as narrow as these."""


def kinds_of(name):
    """The kinds of adapters that may be told a setting."""
    return [s for s in _specs(AdapterSpec) if name in settable(s)]


def unknown(spec):
    return spec.unsupported() if issubclass(spec, NetworkSpec) else frozenset()


def settings(spec=Recipe, path=""):
    """Every setting: its key without numbers, the spec that declares it, and its name there."""
    for name, info in spec.model_fields.items():
        key = f"{path}.{name}" if path else name
        inner = list(_specs(info.annotation))
        for each in inner:
            yield from settings(each, key)
        if not inner and name not in unknown(spec):
            yield key, spec, name


DECLARED = {(key, spec, name) for key, spec, name in settings()}
NEEDY = {key: needs_of(spec, name) for key, spec, name in DECLARED if needs_of(spec, name)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Images with plain captions; with none; and with masks, transparency and every mark that a caption can have."""
    root = tmp_path_factory.mktemp("settings")
    rng = np.random.default_rng(0)
    for name in ("plain", "bare", "rich"):
        (root / name).mkdir()
        for i, size in enumerate([(128, 128), (64, 64), (44, 96)]):
            pixels = rng.integers(0, 255, (size[1], size[0], 4), dtype=np.uint8)
            pixels[..., 3] = 100 if name == "rich" and i == 2 else 255
            Image.fromarray(pixels).save(root / name / f"{i}.png")
            text = {"plain": f"zwx person, place {i}, smiling, day", "bare": "", "rich": RICH}[name]
            if text:
                (root / name / f"{i}.txt").write_text(text)
            if name == "rich":
                mask = np.zeros(size[::-1], np.uint8)
                mask[10:30, 10:30] = 255
                Image.fromarray(mask).save(root / name / f"{i}-masklabel.png")
    return root


RICH = "zwx person, standing; here, left;;;right ||| {red|blue} hat, smiling; loud, day"


@pytest.fixture(scope="module")
def plan_of(folders, tmp_path_factory):
    tiny = tmp_path_factory.mktemp("bases")
    write_base(tiny / "plain", ENCODER)
    write_base(tiny / "zero", ENCODER, scheduler={"rescale_betas_zero_snr": True})
    made = {}

    def make(**changes):
        values = {
            "buckets.resolution": 64, "buckets.step": 16, "prior.source": "none", "sample.prompts": [],
            "train.epochs": 4, "train.batch": 2, "concepts.0.repeats": 2, "adapter.text": False, **changes,
        }  # fmt: skip
        key = repr(sorted(values.items(), key=str))
        if key not in made:
            name = next((n for n in ("rich", "bare") if values.get(n)), "plain")
            base = tiny / ("zero" if values.get("zero") else "plain")
            given = {k: v for k, v in values.items() if k not in ("rich", "bare", "zero")}
            made[key] = make_plan(recipe_for_folder(folders / name, "zwx person", base=str(base), settings=given))
        return made[key]

    return make


def write_base(folder, encoder, scheduler=None):
    files = {
        "model_index.json": {"_class_name": "StableDiffusionPipeline"},
        "unet/config.json": TINY_UNET,
        "vae/config.json": {"block_out_channels": [1, 2, 3, 4]},
        "scheduler/scheduler_config.json": scheduler or {},
        "text_encoder/config.json": encoder,
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))


# --- where a setting shows --------------------------------------------------------------------------------------------


def see_plan(plan):
    placed = [(i.placement, i.repeats) for i in plan.images]
    train = plan.recipe.train
    return placed, plan.class_images, plan.steps, plan.order.epoch(0, 0), train.batch, train.accumulation


def see_caption(plan):
    records = [i.record for i in plan.subject_images]
    return [
        training_caption(
            r.captions, plan.recipe.captions, rng=random.Random(f"{r.path.name}/{step}"), epoch=1 + step // 3,
            step=step, fallback=plan.recipe.concepts[0].subject,
        )
        for r in records
        for step in range(9)
    ]  # fmt: skip


def see_vary(plan):
    augment = plan.recipe.data.augment
    return augment.variants, [augment.vary(i.record, i.placement, n) for i in plan.images for n in range(3)]


def see_mask(plan):
    return plan.recipe.data.alpha_mask, [i.record.has_alpha for i in plan.images]


def see_schedule(plan):
    return [plan.recipe.schedule.factor(step, plan.steps) for step in range(plan.steps)]


def see_optimizer(plan):
    spec = plan.recipe.optimizer
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (spec.lr, spec.text_lr) if lr is not None
    ]
    made = spec.build(groups)
    return type(made), [{k: v for k, v in g.items() if k != "params"} for g in made.param_groups]


def see_text(plan):
    return plan.recipe.model.clip_skip


class Halved(torch.nn.Module):
    """Predicts half of what it is given, or with the adapter away a third: all that a loss asks of a model."""

    share = 0.5

    def forward(self, x, t, cond):
        return self.share * x

    @contextlib.contextmanager
    def scaled(self, multiplier):
        self.share = 1 / 3
        yield
        self.share = 0.5


def see_loss(plan):
    recipe = plan.recipe
    schedule = model_facts(resolve_model(recipe.model.base), recipe.model.prediction).schedule
    if recipe.noise.zero_terminal_snr:
        schedule = schedule.rescaled_to_zero_terminal_snr()
    compute = DenoisingLoss(recipe.loss, recipe.noise, schedule)
    model, draw = Halved(), torch.Generator().manual_seed(3)
    prior = torch.tensor([False] * 5 + [True])
    cond = Conditioning(torch.zeros(6, 1, 1))
    mask = torch.zeros(6, 1, 8, 8)
    mask[:, :, 2:5, 2:5] = 1
    batch = Batch(
        latents=torch.randn(6, 4, 8, 8, generator=draw), cond=cond, is_prior=prior, sizes=None,
        weight=torch.where(prior, recipe.prior.weight, 1.0), mask=mask,
        base_cond=Conditioning(torch.zeros(1, 1, 1)) if recipe.prior.target == "base" else None,
    )  # fmt: skip
    return (compute(model, model, batch, torch.Generator().manual_seed(5)) * batch.weight).tolist()


@pytest.fixture(scope="module")
def networks():
    """A UNet and a text encoder, small enough to put a hundred adapters on."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from bakehouse.models.text_encoders import with_text_model_level

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(**{**UNET, "block_out_channels": (32, 64), "cross_attention_dim": 32})
        text = CLIPTextModel(CLIPTextConfig(**{**ENCODER, "hidden_size": 32, "bos_token_id": 0, "eos_token_id": 1}))
    return {"lora_unet": unet.requires_grad_(False), "lora_te": with_text_model_level(text.requires_grad_(False))}


@pytest.fixture(scope="module")
def see_adapter(networks):
    seen = {}

    def see(values):
        if repr(values) not in seen:
            seen[repr(values)] = trained(values, networks)
        return seen[repr(values)]

    return see


def trained(values, networks):
    """What learns and at which rate, and what the networks say with all of it drawn at random, in training."""
    adapter = inject(TypeAdapter(AdapterSpec).validate_python(values), networks, generator=generator(1))
    if values["kind"] != "full":  # there the base itself would be drawn
        draw = generator(2)
        for _, parameter in sorted(adapter.named_parameters(), key=lambda named: named[0]):
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=draw)
    adapter.apply_max_norm()
    adapter.train()
    torch.manual_seed(4)
    with torch.no_grad():
        words = networks["lora_te"].text_model(torch.tensor([[0, 5, 6, 1]])).last_hidden_state
        said = networks["lora_unet"](torch.ones(1, 4, 8, 8), torch.tensor([500]), words).sample.sum().item()
    rates = [(g["name"], g["lr"], sum(p.numel() for p in g["params"])) for g in adapter.parameter_groups(1e-4, 1e-4)]
    adapter.remove()
    return said, rates


def generator(seed):
    return torch.Generator().manual_seed(seed)


SEEN = {
    "plan": see_plan,
    "caption": see_caption,
    "vary": see_vary,
    "mask": see_mask,
    "schedule": see_schedule,
    "optimizer": see_optimizer,
    "text": see_text,
    "loss": see_loss,
}


# --- the laws ---------------------------------------------------------------------------------------------------------


def test_every_setting_is_accounted_for():
    keys = {key for key, _, _ in DECLARED}
    named = {key for names in ELSEWHERE.values() for key in names}
    assert not named & ROWS.keys()
    assert named | ROWS.keys() == keys


def whole(key):
    return key.replace("concepts.", "concepts.0.")


def about(plan, key):
    return [w for w in plan.warnings if w.startswith(f"{whole(key)} =")]


@pytest.mark.parametrize("key", [k for k, (_, _, lens) in ROWS.items() if lens not in ("adapter", None)])
def test_it_changes_the_training(plan_of, key):
    value, needed, lens = ROWS[key]
    before, after = plan_of(**needed), plan_of(**{**needed, whole(key): value})
    assert SEEN[lens](before) != SEEN[lens](after)
    assert not about(after, key)


@pytest.mark.parametrize("key", [k for k, (_, _, lens) in ROWS.items() if lens == "adapter"])
def test_it_changes_every_adapter_that_has_it(see_adapter, key):
    value, needed, _ = ROWS[key]
    path = key.removeprefix("adapter.")
    nothing = []
    for spec in kinds_of(path.partition(".")[0]):
        kind = spec.model_fields["kind"].default
        if kind in RANKLESS and path in OF_RANKS:
            continue  # it says so
        values = {"kind": kind, **({"targets": "attention"} if "targets" in settable(spec) and path in NARROW else {})}
        for name, given in (FITS.get(kind, {}) | needed).items():
            if name.split(".")[1] in settable(spec):
                set_dotted(values, name.split(".")[1:], given)
        before = see_adapter(values)
        set_dotted(values, path.split("."), value)
        nothing += [kind] * (see_adapter(values) == before)
    assert not nothing


@pytest.mark.parametrize("key", [k for k, (_, _, lens) in ROWS.items() if lens == "adapter" and k != "adapter.text"])
def test_it_changes_the_text_encoder_alone_or_says_so(see_adapter, plan_of, key):
    """Blocks, 3x3 convolutions and many a pattern are the UNet's: without it they have nothing to say."""
    value, needed, _ = ROWS[key]
    path = key.removeprefix("adapter.")
    for spec in kinds_of(path.partition(".")[0]):
        kind = spec.model_fields["kind"].default
        given = {"adapter.unet": False, "adapter.text": True, "adapter.kind": kind} | FITS.get(kind, {}) | needed
        given = {k: v for k, v in given.items() if k == "adapter.kind" or k.split(".")[1] in settable(spec)}
        if key in given or path == "unet":
            continue
        if path == "full_matrix":
            given["adapter.rank"] = 2  # as wide as the networks are, all is whole anyway
        before, after = {}, {}
        for name, each in given.items():
            set_dotted(before, name.split(".")[1:], each)
            set_dotted(after, name.split(".")[1:], each)
        set_dotted(after, path.split("."), value)
        try:
            plan = plan_of(**{**given, key: value})
        except Problems:
            continue  # it is refused
        said = [w for w in about(plan, key) if "does nothing" in w or "only leaves out" in w]
        assert bool(said) == (see_adapter(before) == see_adapter(after)), (kind, said)


def settable(spec):
    return spec.model_fields.keys() - unknown(spec)


@pytest.mark.parametrize("key", sorted(k for k in NEEDY if LACKING.get(k, {}) is not None))
def test_it_says_what_it_lacks(plan_of, key):
    value = EMBEDDING[key] if key in EMBEDDING else ROWS[key][0]
    own = {"adapter.kind": OWNER[key]} if key in OWNER else {}
    if any(need.refused for need in NEEDY[key]):
        with pytest.raises(Problems, match=rf"{key.rpartition('.')[2]} = .* does nothing without"):
            plan_of(**own, **{whole(key): value, **LACKING.get(key, {})})
    else:
        assert about(plan_of(**own, **{whole(key): value, **LACKING.get(key, {})}), key)


@pytest.mark.parametrize("key", ALSO)
def test_it_says_what_else_it_lacks(plan_of, key):
    others, words = ALSO[key]
    (said,) = about(plan_of(**others, **{key: NOTHING.get(key, ROWS[key][0])}), key)
    assert words in said


def test_a_rate_that_follows_from_the_unets_is_no_reason_to_speak(plan_of):
    alone = {"adapter.unet": False, "adapter.text": True}
    made = plan_of(**alone, **{"optimizer.lr": 3e-4})
    assert not about(made, "optimizer.lr")
    assert made.recipe.optimizer.text_lr == 1.5e-4
    derived = plan_of(**alone).recipe.optimizer
    assert (derived.lr, derived.text_lr) == (None, 5e-5)


def test_what_a_file_to_go_on_from_decides_is_said(plan_of, tiny, tmp_path):
    file = tmp_path / "first.safetensors"
    adapter = inject(TypeAdapter(AdapterSpec).validate_python({"kind": "lora"}), tiny.trainable_modules())
    save_adapter(adapter, file, {})
    adapter.remove()
    started = {"adapter.kind": "lora", "adapter.start": str(file)}
    assert about(plan_of(**started, **{"adapter.include": ["*attn1*"]}), "adapter.include")
    for key in (key for key, needs in NEEDY.items() if any(STARTED in str(need) for need in needs)):
        value, needed, _ = ROWS[key]
        values = {**started, "adapter.kind": OWNER.get(key, "lora"), key: value}
        values |= {k: v for k, v in needed.items() if k == "adapter.targets"}
        recipe = plan_of().recipe.with_values({"adapter": {}, **values})
        said = list(without_effect(recipe, lambda k, recipe=recipe: value_at(recipe, k)))
        assert any(w.startswith(f"{key} = ") and "does nothing with adapter.start = " in w for w in said), key


@pytest.mark.parametrize("kind", ["character", "style", "dreambooth", "pose"])
@pytest.mark.parametrize("base", ["crumb", "plain"])
def test_the_plan_says_nothing_against_its_own_choices(folders, plan_of, base, kind):
    plan_of()  # writes the base
    ref = "crumb" if base == "crumb" else plan_of().recipe.model.base
    asked = [
        {},
        {"prior.source": "folder", "prior.folder": str(folders / "bare")},
        {"prior.source": "class", "prior.images": 2},
        {"adapter.unet": False, "adapter.text": True},
        {"adapter.include": ["text_model*"], "adapter.kind": "lora"},
        {"optimizer.name": "prodigy"},
        {"optimizer.name": "adafactor", "optimizer.args": {"relative_step": True}},
        {"optimizer.name": "adamwschedulefree"},
        {"train.batch": "auto"},
        {"train.steps": 3},
        {"buckets.enabled": False},
        {"loss.kind": "huber"},
        {"sample.prompts": []},
    ]
    for settings in asked:
        try:
            recipe = recipe_for_folder(folders / "plain", "zwx person", kind=kind, base=ref, settings=settings)
            made = make_plan(recipe)
        except Problems:
            continue  # it is refused: there is nothing to say
        chosen = {d.key for d in made.decisions}
        assert not [w for w in made.warnings if w.partition(" = ")[0] in chosen], settings


def ran(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def test_the_command_line_says_it_and_writes_no_rate_that_nothing_learns_at(folders, tmp_path, capsys):
    alone = ["--set", "adapter.unet=false", "--set", "adapter.text=true"]
    command = ["plan", str(folders / "plain"), "--subject", "zwx person", *alone]
    ran([*command, "--set", "optimizer.lr=0.001", "--set", "optimizer.text_lr=1e-4"])
    said = " ".join("".join(capsys.readouterr()).split())
    assert "optimizer.lr = 0.001 does nothing without adapter.unet and with optimizer.text_lr = 0.0001" in said
    ran([*command, "-o", str(tmp_path / "me.toml")])
    written = Recipe.load(tmp_path / "me.toml")
    assert written.optimizer.lr is None and written.optimizer.text_lr
    capsys.readouterr()
    ran(["plan", str(tmp_path / "me.toml")])
    assert "does nothing" not in "".join(capsys.readouterr())
