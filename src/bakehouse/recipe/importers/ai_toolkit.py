"""ai-toolkit: the YAML (or JSON) of one `sd_trainer` process, for SD 1.x, 2.x and SDXL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.document import Document
from bakehouse.recipe.importers.draft import Draft
from bakehouse.recipe.importers.kohya_dataset import located
from bakehouse.recipe.importers.kohya_rules import found, our_optimizer
from bakehouse.recipe.importers.result import Note
from bakehouse.recipe.importers.table import (
    Given,
    Option,
    Outcome,
    Settings,
    Taken,
    always,
    convert,
    elsewhere,
    missing,
    no_effect,
    table,
    taken,
)

TITLE = "ai-toolkit"

_DTYPES = {
    "fp16": "fp16",
    "float16": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "fp32": "fp32",
    "float32": "fp32",
    "float": "fp32",
}
_OTHER_MODELS = ("is_flux", "is_v3", "is_pixart", "is_lumina2", "is_auraflow")
_KINDS = {"lora": "lora", "locon": "lora", "lokr": "lokr"}


def base_model(s: Settings) -> Iterator[Outcome]:
    """A Hub id, a folder or a file."""
    if s["model.name_or_path"]:
        yield Taken("model.base", found(s, "model.name_or_path")[0], ("model.name_or_path",))


def network(s: Settings) -> Iterator[Outcome]:
    """Without a network whole weights train."""
    given = s.given("network.type", "network.linear")
    kind = _KINDS.get(s["network.type"]) if given else "full"
    if kind is None:
        yield s.note("network.type", "missing", f"a LoRA is trained; known are {', '.join(_KINDS)}")
        kind = "lora"
    yield Taken("adapter.kind", kind, ("network.type",))
    yield Taken("adapter.unet", s["train.train_unet"], ("train.train_unet",))
    yield Taken("adapter.text", s["train.train_text_encoder"], ("train.train_text_encoder",))
    if kind == "full":
        return
    yield Taken("adapter.rank", s["network.linear"], ("network.linear",))
    yield Taken("adapter.alpha", s["network.linear_alpha"] or s["network.linear"], ("network.linear_alpha",))
    yield Taken("adapter.targets", "full" if s["network.conv"] else "attention+mlp", ("network.conv",))
    if s["network.conv"]:
        yield Taken("adapter.conv_rank", s["network.conv"], ("network.conv",))
        yield Taken("adapter.conv_alpha", s["network.conv_alpha"] or s["network.conv"], ("network.conv_alpha",))
    if s["network.dropout"] and kind == "lora":
        yield Taken("adapter.dropout", s["network.dropout"], ("network.dropout",))
    if s["network.lokr_factor"] and kind == "lokr":
        yield Taken("adapter.factor", s["network.lokr_factor"], ("network.lokr_factor",))
    if s["network.lokr_full_rank"] and kind == "lokr":
        yield Taken("adapter.full_matrix", True, ("network.lokr_full_rank",))


def optimizer(s: Settings) -> Iterator[Outcome]:
    """Its name, rates and arguments."""
    name = our_optimizer(s["train.optimizer"])
    if name is None:
        yield s.note("train.optimizer", "missing", "not among the optimizers: the plan's is taken")
    else:
        yield Taken("optimizer.name", name, ("train.optimizer",))
        if s["train.optimizer_params"]:
            yield Taken("optimizer.args", dict(s["train.optimizer_params"]), ("train.optimizer_params",))
    for key, own in (("optimizer.lr", "train.unet_lr"), ("optimizer.text_lr", "train.text_encoder_lr")):
        source = own if s[own] else "train.lr"
        yield Taken(key, s[source], (source,))


def schedule(s: Settings) -> Iterator[Outcome]:
    """By name."""
    kind = {"constant_with_warmup": "constant"}.get(s["train.lr_scheduler"], s["train.lr_scheduler"])
    yield Taken("schedule.kind", kind, ("train.lr_scheduler",))
    params = s["train.lr_scheduler_params"] or {}
    warmup = params.get("warmup_steps") or params.get("num_warmup_steps")
    if warmup:
        yield Taken("schedule.warmup", warmup, ("train.lr_scheduler_params",))


def accumulation(s: Settings) -> Iterator[Outcome]:
    """Two names for one number."""
    name = next((n for n in ("train.gradient_accumulation_steps", "train.gradient_accumulation") if s.given(n)), "")
    if name:
        yield Taken("train.accumulation", s[name], (name,))


def weighting(s: Settings) -> Iterator[Outcome]:
    """min-SNR under one of its two names."""
    name = "train.min_snr_gamma" if s["train.min_snr_gamma"] else "train.snr_gamma"
    yield Taken("loss.weighting.kind", "min_snr" if s[name] else "none", (name,))
    if s[name]:
        yield Taken("loss.weighting.gamma", s[name], (name,))


def average(s: Settings) -> Iterator[Outcome]:
    """Averaged weights."""
    if s["train.ema_config.use_ema"]:
        yield Taken("train.ema", s["train.ema_config.ema_decay"], ("train.ema_config.ema_decay",))


def samples(s: Settings) -> Iterator[Outcome]:
    """Prompts with their one size and seed."""
    prompts = s["sample.prompts"] or []
    trigger = s["trigger_word"] or ""
    if not prompts or s["train.disable_sampling"]:
        yield Taken("sample.every_epochs", 0, ("sample.prompts",))
        return
    seeds = [s["sample.seed"] + (i if s["sample.walk_seed"] else 0) for i in range(len(prompts))]
    sizes = f"--w {s['sample.width']} --h {s['sample.height']}"
    lines = [f"{str(p).replace('[trigger]', trigger)} {sizes} --d {d}" for p, d in zip(prompts, seeds, strict=True)]
    yield Taken("sample.prompts", lines, ("sample.prompts", "sample.width", "sample.height", "sample.seed"))
    yield Taken("sample.every_epochs", 0, ("sample.sample_every",))
    yield Taken("sample.every_steps", s["sample.sample_every"], ("sample.sample_every",))
    yield Taken("sample.at_start", not s["train.skip_first_sample"], ("train.skip_first_sample",))
    yield Taken("sample.steps", s["sample.sample_steps"], ("sample.sample_steps",))
    yield Taken("sample.guidance", s["sample.guidance_scale"], ("sample.guidance_scale",))
    if s["sample.neg"]:
        yield Taken("sample.negative", s["sample.neg"], ("sample.neg",))


OPTIONS: dict[str, Option] = table(
    no_effect("type", "text", "the kind of process"),
    elsewhere("training_folder", "text", "`bakehouse train me.toml --run DIR`"),
    no_effect("sqlite_db_path", "text", "the window's own"),
    no_effect("performance_log_every", "int", "speed is part of every step's event"),
    taken("name", "text", "name"),
    taken("device", "text", "train.device"),
    taken("trigger_word", "text", "concepts.trigger", "captions.prefix"),
    taken("network.type", "text", "adapter.kind", default="lora", rule=network),
    taken("network.linear", "int", "adapter.rank", default=4, rule=network),
    taken("network.linear_alpha", "float", "adapter.alpha", rule=network),
    taken("network.conv", "int", "adapter.conv_rank", rule=network),
    taken("network.conv_alpha", "float", "adapter.conv_alpha", rule=network),
    taken("network.dropout", "float", "adapter.dropout", rule=network),
    taken("network.lokr_factor", "int", "adapter.factor", rule=network),
    taken("network.lokr_full_rank", "flag", "adapter.full_matrix", rule=network),
    missing("network.network_kwargs", "any", "name modules in `adapter.include` and `adapter.exclude`"),
    taken("save.dtype", "text", "save.dtype", choices=_DTYPES),
    taken("save.save_every", "int", "save.every_steps"),
    taken("save.max_step_saves_to_keep", "int", "save.keep_last"),
    always("save.save_format", "text", "safetensors with kohya's keys"),
    elsewhere("save.push_to_hub", "flag", "belongs to publishing, not to training"),
    elsewhere("save.hf_repo_id", "text", "belongs to publishing, not to training"),
    elsewhere("save.hf_private", "flag", "belongs to publishing, not to training"),
    taken("datasets", "any", "concepts"),
    taken("train.batch_size", "int", "train.batch", default=1),
    taken("train.steps", "int", "train.steps"),
    taken("train.gradient_accumulation_steps", "int", "train.accumulation", rule=accumulation),
    taken("train.gradient_accumulation", "int", "train.accumulation", rule=accumulation),
    taken("train.train_unet", "flag", "adapter.unet", default=True, rule=network),
    taken("train.train_text_encoder", "flag", "adapter.text", default=False, rule=network),
    taken("train.gradient_checkpointing", "flag", "train.gradient_checkpointing"),
    always("train.noise_scheduler", "text", "as the model was trained", "ddpm"),
    taken("train.optimizer", "text", "optimizer.name", default="adamw", rule=optimizer),
    taken("train.optimizer_params", "any", "optimizer.args", rule=optimizer),
    taken("train.lr", "float", "optimizer.lr", default=1e-4, rule=optimizer),
    taken("train.unet_lr", "float", "optimizer.lr", rule=optimizer),
    taken("train.text_encoder_lr", "float", "optimizer.text_lr", rule=optimizer),
    taken("train.lr_scheduler", "text", "schedule.kind", default="constant", rule=schedule),
    taken("train.lr_scheduler_params", "any", "schedule.warmup", rule=schedule),
    taken("train.max_grad_norm", "float", "train.max_grad_norm"),
    taken("train.noise_offset", "float", "noise.offset"),
    taken("train.min_snr_gamma", "float", "loss.weighting.gamma", rule=weighting),
    taken("train.snr_gamma", "float", "loss.weighting.gamma", rule=weighting),
    taken("train.loss_type", "text", "loss.kind", choices={"mse": "l2", "mae": "l1"}),
    missing("train.content_or_style", "text", "see `noise.timesteps`", "balanced"),
    no_effect("train.timestep_type", "text", "belongs to models that train on flows"),
    no_effect("train.linear_timesteps", "flag", "belongs to models that train on flows"),
    taken("train.dtype", "text", "train.precision", choices=_DTYPES),
    taken("train.xformers", "flag", "train.attention", choices={True: "xformers"}),
    taken("train.ema_config.use_ema", "flag", "train.ema", rule=average),
    taken("train.ema_config.ema_decay", "float", "train.ema", default=0.999, rule=average),
    taken("train.skip_first_sample", "flag", "sample.at_start", rule=samples),
    taken("train.disable_sampling", "flag", "sample.every_steps", rule=samples),
    no_effect("train.unload_text_encoder", "flag", "see `train.offload`"),
    always("train.cache_text_embeddings", "flag", "captions that stay the same are encoded once"),
    taken("model.name_or_path", "text", "model.base", rule=base_model),
    taken("model.vae_path", "text", "model.vae"),
    always("model.is_v2", "flag", "the family is read from the model itself"),
    always("model.is_xl", "flag", "the family is read from the model itself"),
    always("model.arch", "text", "the family is read from the model itself"),
    taken("model.is_v_pred", "flag", "model.prediction", choices={True: "v_prediction"}),
    taken("model.quantize", "flag", "model.quantize", choices={True: "int8"}),
    no_effect("model.low_vram", "flag", "see `train.offload`"),
    missing("sample.sampler", "text", "the default sampler draws the samples", "ddpm"),
    taken("sample.sample_every", "int", "sample.every_steps", default=250, rule=samples),
    taken("sample.width", "int", "sample.prompts", default=512, rule=samples),
    taken("sample.height", "int", "sample.prompts", default=512, rule=samples),
    taken("sample.prompts", "list", "sample.prompts", rule=samples),
    taken("sample.neg", "text", "sample.negative", rule=samples),
    taken("sample.seed", "int", "sample.prompts", default=42, rule=samples),
    taken("sample.walk_seed", "flag", "sample.prompts", default=False, rule=samples),
    taken("sample.guidance_scale", "float", "sample.guidance", default=7.0, rule=samples),
    taken("sample.sample_steps", "int", "sample.steps", default=20, rule=samples),
    no_effect("sample.sample_start_step", "int", "samples begin with the training"),
)
"""Keys of a process, with points."""

_OF_A_DATASET = {
    "caption_dropout_rate": "captions.caption_dropout",
    "shuffle_tokens": "captions.shuffle",
    "keep_tokens": "captions.keep_tokens",
    "flip_x": "data.flip",
}


def knows(document: Document) -> bool:
    """Whether the document is ai-toolkit's."""
    return document.format in ("yaml", "json") and "job" in document.table and "config" in document.table


def read(documents: Sequence[Document]) -> Draft:
    """The first process of the last document.

    Raises:
        UsageError: it trains another kind of model, or does something else than train.
    """
    document = documents[-1]
    config = document.table.get("config") or {}
    process: dict[str, Any] = next(iter(config.get("process") or []), {})
    if process.get("type") not in ("sd_trainer", "diffusion_trainer", "ui_trainer"):
        hint = (
            "a slider is not trained on images" if "slider" in str(process.get("type")) else "understood is sd_trainer"
        )
        raise UsageError(f"{document.path}: process type {process.get('type')!r}", hint=hint)
    model = process.get("model") or {}
    arch = str(model.get("arch", "sd1"))
    others = [k for k in _OTHER_MODELS if model.get(k)] + (
        [f"arch = {arch}"] if not arch.startswith(("sd1", "sd2", "sdxl")) else []
    )
    if others:
        raise UsageError(f"{document.path} trains {others[0]}", hint="bakehouse trains SD 1.x, SD 2.x and SDXL")
    given = {k: Given(v, k) for k, v in _flat({"name": config.get("name"), **process})}
    settings = Settings(OPTIONS, given, peer=TITLE, folder=document.folder)
    values, origins, notes = convert(settings)
    fixed = {"captions.prefix": "", "prior.source": "none", "save.every_epochs": 0}
    values |= fixed
    origins |= dict.fromkeys(fixed, "ai-toolkit does so")
    concepts, more = _datasets(settings, values, origins)
    return Draft(values, concepts, origins, [*notes, *more])


def _flat(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Keys with points; what the table knows as a whole stays whole."""
    for key, value in data.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and name not in OPTIONS:
            yield from _flat(value, f"{name}.")
        elif value is not None:
            yield name, value


def _datasets(s: Settings, values: dict[str, Any], origins: dict[str, str]) -> tuple[list[dict[str, Any]], list[Note]]:
    """Each data set as a concept; what the first says of captions is said of all."""
    concepts: list[dict[str, Any]] = []
    notes: list[Note] = []
    for i, entry in enumerate(s["datasets"] or []):
        if not entry.get("folder_path"):
            continue
        trigger = s["trigger_word"] or ""
        concept = {
            "folder": str(located(entry["folder_path"], s.folder)),
            "subject": trigger,
            "repeats": entry.get("num_repeats", 1),
        }
        concepts.append(concept)
        origins |= {f"concepts.{i}.{k}": f"datasets.{i}" for k in concept}
        for key, value in entry.items():
            notes += _of_one(key, value, i, values, origins)
    if s["trigger_word"]:
        notes.append(
            s.note(
                "trigger_word", "taken", "put in front of captions that lack it: see captions.prefix", to=("concepts",)
            )
        )
        del values["captions.prefix"], origins["captions.prefix"]
    return concepts, notes


def _of_one(key: str, value: Any, i: int, values: dict[str, Any], origins: dict[str, str]) -> Iterator[Note]:
    said = f"datasets.{i}.{key}"
    if key in ("folder_path", "num_repeats"):
        return
    if key == "resolution":
        sides = value if isinstance(value, list) else [value]
        values.setdefault("buckets.resolution", int(max(sides)))
        origins.setdefault("buckets.resolution", said)
        if len(sides) > 1:
            yield Note(said, value, "missing", f"one resolution here: {max(sides)}")
    elif key in _OF_A_DATASET:
        values.setdefault(_OF_A_DATASET[key], value)
        origins.setdefault(_OF_A_DATASET[key], said)
    elif key in ("caption_ext", "cache_latents_to_disk", "cache_latents", "default_caption"):
        yield Note(said, value, "always", "captions are found, latents are cached")
    else:
        yield Note(said, value, "unknown", off=value in (None, False, 1.0, 0))
