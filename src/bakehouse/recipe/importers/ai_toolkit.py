"""ai-toolkit: the YAML (or JSON) of one training process, for SD 1.x, 2.x and SDXL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.recipe.importers import ai_toolkit_converters as rules
from bakehouse.recipe.importers.build_recipe import Draft
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.kohya_dataset import located
from bakehouse.recipe.importers.option_table import (
    Given,
    Option,
    Settings,
    always,
    convert,
    elsewhere,
    entry_of,
    missing,
    no_effect,
    table,
    taken,
)
from bakehouse.recipe.importers.settings_file import Document

TITLE = "ai-toolkit"

_PUBLISHING = "belongs to publishing, not to training"

_TABLE: dict[str, Option] = table(
    no_effect("type", "text", "the kind of process", "sd_trainer"),
    elsewhere("training_folder", "text", "`bakehouse train me.toml --run DIR`"),
    no_effect("sqlite_db_path", "text", "the window's own"),
    no_effect("performance_log_every", "int", "speed is part of every step's event"),
    no_effect("log_dir", "text", "`save.tensorboard` writes for TensorBoard"),
    taken("name", "text", "name"),
    taken("device", "text", "train.device"),
    taken("trigger_word", "text", "concepts.trigger", "captions.prefix"),
    taken("network.type", "text", "adapter.kind", rule=rules.network),
    taken("network.rank", "int", "adapter.rank", rule=rules.network),
    taken("network.linear", "int", "adapter.rank", rule=rules.network),
    taken("network.alpha", "float", "adapter.alpha", rule=rules.network),
    taken("network.linear_alpha", "float", "adapter.alpha", rule=rules.network),
    taken("network.conv", "int", "adapter.conv_rank", rule=rules.network),
    taken("network.conv_alpha", "float", "adapter.conv_alpha", rule=rules.network),
    taken("network.dropout", "float", "adapter.dropout", rule=rules.network),
    taken("network.lokr_factor", "int", "adapter.factor", rule=rules.network),
    taken("network.lokr_full_rank", "flag", "adapter.full_matrix", rule=rules.network),
    taken("network.network_kwargs", "table", "adapter.include", "adapter.exclude", rule=rules.network),
    taken("network.pretrained_lora_path", "text", "adapter.start"),
    no_effect("network.transformer_only", "flag", "belongs to models with a transformer"),
    no_effect("network.old_lokr_format", "flag", "files have LyCORIS' keys"),
    taken("save.dtype", "text", "save.dtype", choices=rules.DTYPES, counts=True),
    taken("save.save_every", "int", "save.every_steps", counts=True),
    taken("save.max_step_saves_to_keep", "int", "save.keep_last", counts=True),
    always("save.save_format", "text", "safetensors with kohya's keys"),
    elsewhere("save.push_to_hub", "flag", _PUBLISHING),
    elsewhere("save.hf_repo_id", "text", _PUBLISHING),
    elsewhere("save.hf_private", "flag", _PUBLISHING),
    taken("datasets", "tables", "concepts"),
    taken("train.batch_size", "int", "train.batch", counts=True),
    taken("train.steps", "int", "train.steps", counts=True),
    taken("train.gradient_accumulation_steps", "int", "train.accumulation", rule=rules.accumulation),
    taken("train.gradient_accumulation", "int", "train.accumulation", rule=rules.accumulation),
    taken("train.train_unet", "flag", "adapter.unet", rule=rules.network),
    taken("train.train_text_encoder", "flag", "adapter.text", rule=rules.network),
    taken("train.gradient_checkpointing", "flag", "train.gradient_checkpointing", counts=True),
    missing("train.noise_scheduler", "text", "noise is added as the model was trained"),
    taken("train.optimizer", "text", "optimizer.name", rule=rules.optimizer),
    taken("train.optimizer_params", "table", "optimizer.args", rule=rules.optimizer),
    taken("train.lr", "float", "optimizer.lr", rule=rules.rates),
    taken("train.unet_lr", "float", "optimizer.lr", rule=rules.rates),
    taken("train.text_encoder_lr", "float", "optimizer.text_lr", rule=rules.rates),
    taken("train.lr_scheduler", "text", "schedule.kind", rule=rules.schedule),
    taken("train.lr_scheduler_params", "table", "schedule.warmup", rule=rules.schedule),
    taken("train.max_grad_norm", "float", "train.max_grad_norm", counts=True),
    taken("train.noise_offset", "float", "noise.offset", counts=True),
    taken("train.min_snr_gamma", "float", "loss.weighting.gamma", rule=rules.weighting),
    taken("train.snr_gamma", "float", "loss.weighting.kind", rule=rules.weighting),
    taken("train.loss_type", "text", "loss.kind", rule=rules.loss),
    taken("train.content_or_style", "text", "noise.timesteps", rule=rules.timesteps),
    taken("train.min_denoising_steps", "int", "noise.max_timestep", rule=rules.timesteps),
    taken("train.max_denoising_steps", "int", "noise.min_timestep", rule=rules.timesteps),
    no_effect("train.timestep_type", "text", "belongs to models that train on flows"),
    no_effect("train.linear_timesteps", "flag", "belongs to models that train on flows"),
    no_effect("train.linear_timesteps2", "flag", "belongs to models that train on flows"),
    no_effect("train.bypass_guidance_embedding", "flag", "belongs to FLUX"),
    taken("train.dtype", "text", "train.precision", choices=rules.DTYPES, counts=True),
    taken("train.xformers", "flag", "train.attention", choices={True: "xformers"}),
    always("train.sdp", "flag", "PyTorch's own attention"),
    taken("train.ema_config.use_ema", "flag", "train.ema", rule=rules.average),
    taken("train.ema_config.ema_decay", "float", "train.ema", rule=rules.average),
    taken("train.skip_first_sample", "flag", "sample.at_start", rule=rules.samples),
    taken("train.disable_sampling", "flag", "sample.every_steps", rule=rules.samples),
    no_effect("train.unload_text_encoder", "flag", "see `train.offload`"),
    always("train.cache_text_embeddings", "flag", "captions that stay the same are encoded once"),
    taken("train.prompt_dropout_prob", "float", "captions.caption_dropout"),
    taken("model.name_or_path", "text", "model.base", rule=rules.base_model),
    taken("model.vae_path", "text", "model.vae"),
    always("model.is_v2", "flag", "the family is read from the model itself"),
    always("model.is_xl", "flag", "the family is read from the model itself"),
    always("model.arch", "text", "the family is read from the model itself"),
    taken("model.is_v_pred", "flag", "model.prediction", rule=rules.base_model),
    taken("model.quantize", "flag", "model.quantize", choices={True: "int8"}),
    no_effect("model.quantize_te", "flag", "see `model.quantize`"),
    no_effect("model.low_vram", "flag", "see `train.offload`"),
    missing("sample.sampler", "text", "samplers have other names there: set `sample.sampler`"),
    taken("sample.sample_every", "int", "sample.every_steps", rule=rules.samples),
    taken("sample.width", "int", "sample.prompts", rule=rules.samples),
    taken("sample.height", "int", "sample.prompts", rule=rules.samples),
    taken("sample.prompts", "list", "sample.prompts", rule=rules.samples),
    taken("sample.samples", "tables", "sample.prompts", rule=rules.samples),
    taken("sample.neg", "text", "sample.negative", rule=rules.samples),
    taken("sample.seed", "int", "sample.prompts", rule=rules.samples),
    taken("sample.walk_seed", "flag", "sample.prompts", rule=rules.samples),
    taken("sample.guidance_scale", "float", "sample.guidance", rule=rules.samples),
    taken("sample.sample_steps", "int", "sample.steps", rule=rules.samples),
    no_effect("sample.sample_start_step", "int", "samples begin with the training"),
)


@lru_cache(maxsize=1)
def defaults() -> Mapping[str, Any]:
    """ai-toolkit's own settings and their defaults, by the names of `OPTIONS`; None is nothing or worked out."""
    loaded = parse_json(Path(__file__).with_name("ai_toolkit_defaults.json").read_text("utf-8"))
    settings: Mapping[str, Any] = loaded["settings"]
    return settings


OPTIONS: Mapping[str, Option] = {
    name: replace(option, default=defaults().get(name, option.default)) for name, option in _TABLE.items()
}
"""Keys of a process, with points, and ai-toolkit's own defaults."""

_FAMILIES = {
    "is_flux": "FLUX.1",
    "is_v3": "Stable Diffusion 3",
    "is_pixart": "PixArt",
    "is_pixart_sigma": "PixArt Sigma",
    "is_lumina2": "Lumina 2",
    "is_auraflow": "AuraFlow",
    "is_ssd": "SSD-1B",
    "is_vega": "Segmind Vega",
}
"""Flags of models that bakehouse does not train."""
_ARCHS = ("sd1", "sd15", "sd2", "sdxl")
_OF_SLIDERS = "a slider, from pairs of prompts"
_PROCESSES = {
    "slider": _OF_SLIDERS,
    "ultimate_slider_trainer": _OF_SLIDERS,
    "concept_slider": _OF_SLIDERS,
    "image_reference_slider_trainer": "a slider, from pairs of pictures",
    "concept_replacer": "a replacement of one prompt's meaning by another's",
    "textual_inversion_trainer": "an embedding (textual inversion)",
}
"""Trainings that bakehouse does not have."""
_JOBS = {
    "generate": "draws pictures: that is `bakehouse generate`",
    "extract": "extracts a LoRA of two models: that is `bakehouse weights extract`",
    "mod": "changes a LoRA file: that is `bakehouse weights rescale`",
    "merge": "merges models: that is `bakehouse weights merge`",
}
"""Jobs that train nothing."""
_PARTS = ("network", "save", "train", "model", "sample", "logging")
_TRAINERS = ("sd_trainer", "diffusion_trainer", "ui_trainer")


def knows(document: Document) -> bool:
    """Whether the document is ai-toolkit's."""
    return document.format in ("yaml", "json") and "job" in document.table and "config" in document.table


def read(documents: Sequence[Document]) -> Draft:
    """The process of the last document.

    Raises:
        UsageError: it trains another kind of model, or does something else than train.
    """
    document = documents[-1]
    config = document.table.get("config")
    if not isinstance(config, Mapping):
        raise UsageError(f"{document.path}: `config` is no table", hint="give the file that ai-toolkit trains with")
    process = _process(document, config)
    _refuse_other_models(document, process)
    given, notes = _known(_tagged({"name": config.get("name"), **process}, config.get("name")))
    settings = Settings(OPTIONS, given, peer=TITLE, folder=document.folder)
    values, origins, said = convert(settings)
    fixed = {"captions.prefix": "", "prior.source": "none", "save.every_epochs": 0}
    values |= fixed
    origins |= dict.fromkeys(fixed, "ai-toolkit does so")
    concepts, more = _datasets(settings, values, origins)
    kept = [n for n in said if n.fate == "taken" or not n.off]
    return Draft(values, concepts, origins, [*notes, *kept, *more])


def _process(document: Document, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one process that trains.

    Raises:
        UsageError: another job, another process, or several.
    """
    job = str(document.table.get("job"))
    if job in _JOBS:
        raise UsageError(f"{document.path} is ai-toolkit's, and {_JOBS[job]}", hint="it holds no training")
    entries = config.get("process")
    processes = [p for p in entries if isinstance(p, Mapping)] if isinstance(entries, list) else []
    if not processes:
        raise UsageError(f"{document.path}: `config.process` lists no process", hint="it holds no training")
    kind = str(processes[0].get("type"))
    if kind in _PROCESSES:
        raise UsageError(
            f"{document.path} is ai-toolkit's and trains {_PROCESSES[kind]} (process type {kind!r})",
            hint="bakehouse trains on images and has no such training: train this one with ai-toolkit",
        )
    if kind not in _TRAINERS:
        raise UsageError(
            f"{document.path}: process type {kind!r} is not known", hint=f"understood are {', '.join(_TRAINERS)}"
        )
    if len(processes) > 1:
        hint = "write a file for each and import them one by one"
        raise UsageError(f"{document.path} lists {len(processes)} processes, and a recipe is one training", hint=hint)
    for part in _PARTS:
        if not isinstance(processes[0].get(part) or {}, Mapping):
            raise UsageError(f"{document.path}: {part} = {processes[0][part]!r}", hint="it should be a table")
    return processes[0]


def _refuse_other_models(document: Document, process: Mapping[str, Any]) -> None:
    model = process.get("model") or {}
    hint = "bakehouse trains SD 1.x, SD 2.x and SDXL; train this one with ai-toolkit"
    flag = next((k for k in _FAMILIES if model.get(k)), None)
    if flag:
        raise UsageError(f"{document.path} trains {_FAMILIES[flag]} ({flag} = true)", hint=hint)
    arch = str(model.get("arch") or "sd1").partition(":")[0]
    if arch not in _ARCHS:
        raise UsageError(f"{document.path} trains the family {arch!r} (model.arch)", hint=hint)
    if (process.get("train") or {}).get("noise_scheduler") == "flowmatch":
        raise UsageError(f"{document.path} trains SD as a flow (noise_scheduler = 'flowmatch')", hint=hint)


def _tagged(value: Any, name: Any) -> Any:
    """`[name]` in every text is the training's name, as there."""
    if isinstance(value, str):
        return value.replace("[name]", str(name))
    if isinstance(value, Mapping):
        return {k: _tagged(v, name) for k, v in value.items()}
    return [_tagged(v, name) for v in value] if isinstance(value, list) else value


def _known(data: Mapping[str, Any]) -> tuple[dict[str, Given], list[Note]]:
    """Keys that decide something, and notes on those that do not or cannot."""
    given: dict[str, Given] = {}
    notes: list[Note] = []
    theirs = defaults()
    flat = dict(_flat(data))
    for name, value in flat.items():
        if name in OPTIONS or name not in theirs:
            given[name] = Given(value, name)
        elif value != theirs[name] and value is not None and not _belongs_to_what_is_off(name, flat):
            part = name.partition(".")[0]
            drawn = part in ("logging", "sample", "model") or name.startswith("save.")
            why = "changes nothing that is learned" if drawn else "there is no such setting here"
            notes.append(Note(name, value, "no effect" if drawn else "missing", why, off=drawn))
    return given, notes


def _belongs_to_what_is_off(name: str, flat: Mapping[str, Any]) -> bool:
    """Whether a key is a detail of a switch that is off: `diff_output_preservation_class` of the one it begins with."""
    return any(name.startswith(f"{k}_") and d is False and not flat.get(k) for k, d in defaults().items())


def _flat(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Keys with points; what the table knows as a whole stays whole."""
    for key, value in data.items():
        name = f"{above}{key}"
        whole = name in OPTIONS or (name in defaults() and name != "train.ema_config")
        if isinstance(value, Mapping) and not whole:
            yield from _flat(value, f"{name}.")
        elif value is not None:
            yield name, value


_OF_A_DATASET = {
    "caption_dropout_rate": "captions.caption_dropout",
    "token_dropout_rate": "captions.tag_dropout",
    "shuffle_tokens": "captions.shuffle",
    "keep_tokens": "captions.keep_tokens",
    "flip_x": "data.flip",
    "buckets": "buckets.enabled",
    "alpha_mask": "data.alpha_mask",
    "mask_min_value": "loss.unmasked_weight",
}
_NO_MATTER = re.compile(
    r"cache_\w+|caption_ext|caption_type|type|num_workers|prefetch_factor|bucket_tolerance|controls|shrink_video\w*"
)


def _datasets(s: Settings, values: dict[str, Any], origins: dict[str, str]) -> tuple[list[dict[str, Any]], list[Note]]:
    """Each data set as a concept; what the first says of captions is said of all."""
    concepts: list[dict[str, Any]] = []
    notes: list[Note] = []
    for i, entry in enumerate(s["datasets"] or []):
        where = f"datasets.{i}"
        folder, dataset = (entry_of(entry, n, "text", "", where) for n in ("folder_path", "dataset_path"))
        folder = folder or dataset
        if not folder:
            continue
        if entry.get("is_reg") or entry.get("prior_reg"):
            notes.append(Note(f"{where}.is_reg", True, "missing", f"class images: name {folder} in `prior.folder`"))
            continue
        # The caption of images that have none.
        own, caption = (entry_of(entry, n, "text", "", where) for n in ("trigger_word", "default_caption"))
        repeats = entry_of(entry, "num_repeats", "int", 1, where)
        subject = own or s["trigger_word"] or caption
        concept = {"folder": str(located(folder, s.folder)), "subject": subject, "repeats": repeats}
        origins |= {f"concepts.{len(concepts)}.{k}": where for k in concept}
        concepts.append(concept)
        masked = bool(entry.get("mask_path") or entry.get("alpha_mask"))
        for key, value in entry.items():
            if key not in ("mask_min_value", "invert_mask") or masked:
                notes += _of_one(key, value, where, values, origins)
        if "resolution" not in entry:
            values.setdefault("buckets.resolution", defaults()["datasets.resolution"])
            origins.setdefault("buckets.resolution", "ai-toolkit's default of resolution")
    if s["trigger_word"]:
        why = "put in front of captions that lack it: see captions.prefix"
        notes.append(s.note("trigger_word", "taken", why, to=("concepts",)))
        del values["captions.prefix"], origins["captions.prefix"]
    return concepts, notes


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _of_one(key: str, value: Any, where: str, values: dict[str, Any], origins: dict[str, str]) -> Iterator[Note]:
    said = f"{where}.{key}"
    name = f"datasets.{key}"
    if key in ("folder_path", "dataset_path", "num_repeats", "trigger_word", "default_caption"):
        return
    if key == "mask_path" and value:
        yield Note(said, value, "missing", "masks lie beside their images, in a folder `mask` or `masks`")
        return
    if key == "resolution":
        sides = [entry_of({"resolution": x}, "resolution", "int", 512, where) for x in _listed(value)] or [512]
        values.setdefault("buckets.resolution", max(sides))
        origins.setdefault("buckets.resolution", said)
        if len(sides) > 1:
            yield Note(said, value, "missing", f"one resolution here: {max(sides)}")
    elif key in _OF_A_DATASET:
        values.setdefault(_OF_A_DATASET[key], value)
        origins.setdefault(_OF_A_DATASET[key], said)
    elif _NO_MATTER.fullmatch(key):
        yield Note(said, value, "always", "captions are found, latents are cached", off=True)
    elif name not in defaults():
        yield Note(said, value, "unknown", "ai-toolkit has no such key that is known")
    elif value != defaults()[name] and value is not None:
        yield Note(said, value, "missing", "a concept has no such setting here")
