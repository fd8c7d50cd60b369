"""ai-toolkit: the YAML (or JSON) of one training process, for SD 1.x, 2.x and SDXL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers import ai_toolkit_converters as converters
from bakehouse.recipe.importers.ai_toolkit_sliders import PROCESSES, SliderDraft, read_slider, without_slider
from bakehouse.recipe.importers.build_recipe import Draft
from bakehouse.recipe.importers.common import TRAINED, folder_path, reported
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.option_table import GivenValue, Option, Settings, convert, sets, table, unset_options
from bakehouse.recipe.importers.settings_file import Document
from bakehouse.recipe.importers.shipped_tables import shipped_table
from bakehouse.recipe.importers.value_types import table_entry

TITLE = "ai-toolkit"

DEFAULTS: Mapping[str, Any] = shipped_table("ai_toolkit_defaults.json")["settings"]
"""ai-toolkit's settings and their defaults, by the names of `OPTIONS`; None is off or derived."""

OPTIONS: dict[str, Option] = table(
    sets("name", "text", "name"),
    sets("device", "text", "train.device"),
    sets("trigger_word", "text", "concepts.trigger", "captions.prefix"),
    sets("network.type", "text", "adapter.kind"),
    sets("network.rank", "int", "adapter.rank"),
    sets("network.linear", "int", "adapter.rank"),
    sets("network.alpha", "float", "adapter.alpha"),
    sets("network.linear_alpha", "float", "adapter.alpha"),
    sets("network.conv", "int", "adapter.conv_rank"),
    sets("network.conv_alpha", "float", "adapter.conv_alpha"),
    sets("network.dropout", "float", "adapter.dropout"),
    sets("network.lokr_factor", "int", "adapter.factor"),
    sets("network.lokr_full_rank", "flag", "adapter.full_matrix"),
    sets("network.network_kwargs", "table", "adapter.include", "adapter.exclude"),
    sets("network.pretrained_lora_path", "text", "adapter.start"),
    sets("save.dtype", "text", "save.dtype", choices=converters.DTYPES, fill=True),
    sets("save.save_every", "int", "save.every_steps", fill=True),
    sets("save.max_step_saves_to_keep", "int", "save.keep_last", fill=True),
    sets("datasets", "tables", "concepts"),
    sets("train.batch_size", "int", "train.batch", fill=True),
    sets("train.steps", "int", "train.steps", fill=True),
    sets("train.gradient_accumulation_steps", "int", "train.accumulation"),
    sets("train.gradient_accumulation", "int", "train.accumulation"),
    sets("train.train_unet", "flag", "adapter.unet"),
    sets("train.train_text_encoder", "flag", "adapter.text"),
    sets("train.gradient_checkpointing", "flag", "train.gradient_checkpointing", fill=True),
    sets("train.optimizer", "text", "optimizer.name"),
    sets("train.optimizer_params", "table", "optimizer.args"),
    sets("train.lr", "float", "optimizer.lr"),
    sets("train.unet_lr", "float", "optimizer.lr"),
    sets("train.text_encoder_lr", "float", "optimizer.text_lr"),
    sets("train.lr_scheduler", "text", "schedule.kind"),
    sets("train.lr_scheduler_params", "table", "schedule.warmup"),
    sets("train.max_grad_norm", "float", "train.max_grad_norm", fill=True),
    sets("train.noise_offset", "float", "noise.offset", fill=True),
    sets("train.min_snr_gamma", "float", "loss.weighting.gamma"),
    sets("train.snr_gamma", "float", "loss.weighting.kind"),
    sets("train.loss_type", "text", "loss.kind"),
    sets("train.content_or_style", "text", "noise.timesteps"),
    sets("train.min_denoising_steps", "int", "noise.max_timestep"),
    sets("train.max_denoising_steps", "int", "noise.min_timestep"),
    sets("train.dtype", "text", "train.precision", choices=converters.DTYPES, fill=True),
    sets("train.xformers", "flag", "train.attention", choices={True: "xformers"}),
    sets("train.ema_config.use_ema", "flag", "train.ema", emit={}),
    sets("train.ema_config.ema_decay", "float", "train.ema", fill=True, when="train.ema_config.use_ema"),
    sets("train.skip_first_sample", "flag", "sample.at_start"),
    sets("train.disable_sampling", "flag", "sample.every_steps"),
    sets("train.prompt_dropout_prob", "float", "captions.caption_dropout"),
    sets("model.name_or_path", "path", "model.base"),
    sets("model.vae_path", "text", "model.vae"),
    sets("model.is_v_pred", "flag", "model.prediction", choices={True: "v_prediction", False: "epsilon"}, fill=True),
    sets("model.quantize", "flag", "model.quantize", choices={True: "int8"}),
    sets("sample.sample_every", "int", "sample.every_steps"),
    sets("sample.width", "int", "sample.prompts"),
    sets("sample.height", "int", "sample.prompts"),
    sets("sample.prompts", "list", "sample.prompts"),
    sets("sample.samples", "tables", "sample.prompts"),
    sets("sample.neg", "text", "sample.negative"),
    sets("sample.seed", "int", "sample.prompts"),
    sets("sample.walk_seed", "flag", "sample.prompts"),
    sets("sample.guidance_scale", "float", "sample.guidance"),
    sets("sample.sample_steps", "int", "sample.steps"),
    *unset_options("ai_toolkit"),
    converters=converters.CONVERTERS,
    defaults=DEFAULTS,
)
"""Keys of a process, with points, and ai-toolkit's own defaults."""

_ARCHS = ("sd1", "sd15", "sd2", "sdxl")
_JOBS = {
    "generate": "generates images: use `bakehouse generate`",
    "extract": "extracts a LoRA of two models: that is `bakehouse weights extract`",
    "mod": "changes a LoRA file: that is `bakehouse weights rescale`",
    "merge": "merges models: that is `bakehouse weights merge`",
}
"""Jobs that train nothing."""
_PARTS = ("network", "save", "train", "model", "sample", "logging")
_TRAINERS = ("sd_trainer", "diffusion_trainer", "ui_trainer")


def detects(document: Document) -> bool:
    """Whether the document is ai-toolkit's."""
    return document.format in ("yaml", "json") and "job" in document.table and "config" in document.table


def read(documents: Sequence[Document]) -> Draft:
    """Convert the process of the last document.

    Raises:
        UsageError: it trains another kind of model, or does something else than train.
    """
    document = documents[-1]
    config = document.table.get("config")
    if not isinstance(config, Mapping):
        raise UsageError(f"{document.path}: `config` is not a table", hint="give the file that ai-toolkit trains with")
    process = _process(document, config)
    _refuse_other_models(document, process)
    slider = read_slider(process) if process.get("type") in PROCESSES else None
    if slider:
        process = without_slider(process)
    given, notes = _known(_tagged({"name": config.get("name"), **process}, config.get("name")))
    settings = Settings(OPTIONS, given, trainer=TITLE, folder=document.folder)
    values, origins, said = convert(settings)
    if slider:
        return _slider_draft(slider, values, origins, [*notes, *reported(said)])
    fixed = {"captions.prefix": "", "prior.source": "none", "save.every_epochs": 0}
    values |= fixed
    origins |= dict.fromkeys(fixed, "ai-toolkit does so")
    concepts, more = _datasets(settings, values, origins)
    return Draft(values, concepts, origins, [*notes, *reported(said), *more])


def _slider_draft(
    slider: SliderDraft, values: Mapping[str, Any], origins: Mapping[str, str], notes: Sequence[Note]
) -> Draft:
    """Return a slider's draft: what is about images is left out, and the plan's size is that of the base."""
    kept = {k: v for k, v in values.items() if k.partition(".")[0] not in ("captions", "noise", "buckets", "concepts")}
    fixed = {"save.every_epochs": 0}
    of = {k: v for k, v in origins.items() if k in kept} | dict.fromkeys(fixed, "ai-toolkit does so")
    return Draft({**kept, **fixed, **slider.values}, (), {**of, **slider.origins}, [*notes, *slider.notes])


def _process(document: Document, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the one process that trains.

    Raises:
        UsageError: another job, another process, or several.
    """
    job = str(document.table.get("job"))
    if job in _JOBS:
        raise UsageError(f"{document.path} is ai-toolkit's, and {_JOBS[job]}", hint="it contains no training")
    entries = config.get("process")
    processes = [p for p in entries if isinstance(p, Mapping)] if isinstance(entries, list) else []
    if not processes:
        raise UsageError(f"{document.path}: `config.process` lists no process", hint="it contains no training")
    kind = str(processes[0].get("type"))
    if trained := shipped_table("other_models.toml")["ai_toolkit_processes"].get(kind):
        raise UsageError(
            f"{document.path} is ai-toolkit's and trains {trained} (process type {kind!r})",
            hint="bakehouse does not train this; train this one with ai-toolkit",
        )
    if kind not in (*_TRAINERS, *PROCESSES):
        supported = ", ".join((*_TRAINERS, *PROCESSES))
        raise UsageError(f"{document.path}: process type {kind!r} is not supported", hint=f"supported are {supported}")
    if len(processes) > 1:
        hint = "write a file for each and import them one by one"
        raise UsageError(f"{document.path} lists {len(processes)} processes, but a recipe is one training", hint=hint)
    for part in _PARTS:
        if not isinstance(processes[0].get(part) or {}, Mapping):
            raise UsageError(f"{document.path}: {part} = {processes[0][part]!r}", hint="expected a table")
    return processes[0]


def _refuse_other_models(document: Document, process: Mapping[str, Any]) -> None:
    model = process.get("model") or {}
    hint = f"{TRAINED}; train this one with ai-toolkit"
    families = shipped_table("other_models.toml")["ai_toolkit"]
    if flag := next((k for k in families if model.get(k)), None):
        raise UsageError(f"{document.path} trains {families[flag]} ({flag} = true)", hint=hint)
    arch = str(model.get("arch") or "sd1").partition(":")[0]
    if arch not in _ARCHS:
        raise UsageError(f"{document.path} trains the family {arch!r} (model.arch)", hint=hint)
    if (process.get("train") or {}).get("noise_scheduler") == "flowmatch":
        raise UsageError(f"{document.path} trains SD with flow matching (noise_scheduler = 'flowmatch')", hint=hint)


def _tagged(value: Any, name: Any) -> Any:
    """Replace `[name]` in every text by the training's name, as ai-toolkit does."""
    if isinstance(value, str):
        return value.replace("[name]", str(name))
    if isinstance(value, Mapping):
        return {k: _tagged(v, name) for k, v in value.items()}
    return [_tagged(v, name) for v in value] if isinstance(value, list) else value


def _known(data: Mapping[str, Any]) -> tuple[dict[str, GivenValue], list[Note]]:
    """Return the keys that affect the training, and notes on keys that do not or that are not supported."""
    given: dict[str, GivenValue] = {}
    notes: list[Note] = []
    theirs = DEFAULTS
    flat = dict(_flat(data))
    for name, value in flat.items():
        if name in OPTIONS or name not in theirs:
            given[name] = GivenValue(value, name)
        elif value != theirs[name] and value is not None and not _belongs_to_what_is_off(name, flat):
            part = name.partition(".")[0]
            drawn = part in ("logging", "sample", "model") or name.startswith("save.")
            why = "does not change the training" if drawn else "bakehouse has no such setting"
            notes.append(Note(name, value, "no effect" if drawn else "unsupported", why, off=drawn))
    return given, notes


def _belongs_to_what_is_off(name: str, flat: Mapping[str, Any]) -> bool:
    """Whether a key is an option of a switch that is off: `diff_output_preservation_class`."""
    return any(name.startswith(f"{k}_") and d is False and not flat.get(k) for k, d in DEFAULTS.items())


def _flat(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten tables to dotted keys, except tables that are an option of their own."""
    for key, value in data.items():
        name = f"{above}{key}"
        whole = name in OPTIONS or (name in DEFAULTS and name != "train.ema_config")
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
    """Return each data set as a concept; caption settings of the first apply to all."""
    concepts: list[dict[str, Any]] = []
    notes: list[Note] = []
    for i, entry in enumerate(s["datasets"] or []):
        where = f"datasets.{i}"
        folder, dataset = (table_entry(entry, n, "text", "", where) for n in ("folder_path", "dataset_path"))
        folder = folder or dataset
        if not folder:
            continue
        if entry.get("is_reg") or entry.get("prior_reg"):
            notes.append(Note(f"{where}.is_reg", True, "unsupported", f"class images: set `prior.folder` to {folder}"))
            continue
        # The caption of images that have none.
        own, caption = (table_entry(entry, n, "text", "", where) for n in ("trigger_word", "default_caption"))
        repeats = table_entry(entry, "num_repeats", "int", 1, where)
        subject = own or s["trigger_word"] or caption
        concept = {"folder": str(folder_path(folder, s.folder)), "subject": subject, "repeats": repeats}
        origins |= {f"concepts.{len(concepts)}.{k}": where for k in concept}
        concepts.append(concept)
        masked = bool(entry.get("mask_path") or entry.get("alpha_mask"))
        for key, value in entry.items():
            if key not in ("mask_min_value", "invert_mask") or masked:
                notes += _of_one(key, value, where, values, origins)
        if "resolution" not in entry:
            values.setdefault("buckets.resolution", DEFAULTS["datasets.resolution"])
            origins.setdefault("buckets.resolution", "ai-toolkit's default of resolution")
    if s["trigger_word"]:
        why = "added before captions that lack it: see captions.prefix"
        notes.append(s.note("trigger_word", "set", why, sets=("concepts",)))
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
        yield Note(said, value, "unsupported", "masks are read from a folder `mask` or `masks` beside the images")
        return
    if key == "resolution":
        sides = [table_entry({"resolution": x}, "resolution", "int", 512, where) for x in _listed(value)] or [512]
        values.setdefault("buckets.resolution", max(sides))
        origins.setdefault("buckets.resolution", said)
        if len(sides) > 1:
            yield Note(said, value, "unsupported", f"only one resolution is supported: {max(sides)}")
    elif key in _OF_A_DATASET:
        values.setdefault(_OF_A_DATASET[key], value)
        origins.setdefault(_OF_A_DATASET[key], said)
    elif _NO_MATTER.fullmatch(key):
        yield Note(said, value, "built in", "captions are found and latents cached automatically", off=True)
    elif name not in DEFAULTS:
        yield Note(said, value, "unknown", "ai-toolkit has no such key")
    elif value != DEFAULTS[name] and value is not None:
        yield Note(said, value, "unsupported", "concepts have no such setting")
