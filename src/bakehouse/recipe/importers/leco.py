"""LECO: its settings with the prompts that they name, or the prompts alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.ai_toolkit_converters import DTYPES
from bakehouse.recipe.importers.build_recipe import Draft
from bakehouse.recipe.importers.common import key_values, our_optimizer, reported
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.option_table import (
    Assignment,
    GivenValue,
    Option,
    Outcome,
    Settings,
    convert,
    converts,
    sets,
    table,
)
from bakehouse.recipe.importers.settings_file import Document, open_document
from bakehouse.recipe.importers.value_types import existing_path, table_entry

TITLE = "LECO"

_SAMPLERS = {"ddim": "ddim", "ddpm": "ddpm", "lms": "lms", "euler_a": "euler a"}
_SCHEDULES = {name: name for name in ("constant", "cosine", "cosine_with_restarts")}
_PARTS: Mapping[str, Mapping[str, list[str]]] = {
    "full": {},
    "selfattn": {"adapter.include": ["*attn1*"]},
    "xattn": {"adapter.include": ["*attn2*"]},
    "noxattn": {"adapter.exclude": ["*attn2*"]},
    "innoxattn": {"adapter.exclude": ["*attn2*"]},
}
_MOST_POINTS = 8
"""Steps of one trajectory: LECO denoises a new image for each step."""


@converts("train.optimizer", "train.optimizer_args")
def _optimizer(s: Settings) -> Iterator[Outcome]:
    name = our_optimizer(s["train.optimizer"])
    if name is None:
        yield s.note("train.optimizer", "unsupported", "not available; the plan chooses an optimizer")
        return
    yield Assignment("optimizer.name", name, ("train.optimizer",))
    if args := key_values((s["train.optimizer_args"] or "").split()):
        yield Assignment("optimizer.args", args, ("train.optimizer_args",))


@converts("train.max_denoising_steps")
def _denoising(s: Settings) -> Iterator[Outcome]:
    steps = ("train.max_denoising_steps",)
    yield Assignment("slider.steps", s[steps[0]], steps)
    yield Assignment("slider.points", min(_MOST_POINTS, s[steps[0]]), steps)


OPTIONS: dict[str, Option] = table(
    sets("prompts_file", "path", "slider.prompts", emit={}),
    sets("pretrained_model.name_or_path", "path", "model.base"),
    sets("pretrained_model.v_pred", "flag", "model.prediction", choices={True: "v_prediction"}),
    sets("pretrained_model.clip_skip", "int", "model.clip_skip"),
    Option("pretrained_model.v2", "flag", "built in", (), "detected from the model's files"),
    sets(
        "network.type", "text", "adapter.targets", choices={"lierla": "attention+mlp", "c3lier": "full"},
        fill=True, default="lierla",
    ),
    sets("network.rank", "int", "adapter.rank", fill=True, default=4),
    sets("network.alpha", "float", "adapter.alpha", fill=True, default=1.0),
    sets(
        "network.training_method", "text", "adapter.include", "adapter.exclude",
        emit=_PARTS, choices=dict.fromkeys(_PARTS),
    ),
    sets("train.precision", "text", "train.precision", choices=DTYPES, fill=True, default="bfloat16"),
    sets("train.noise_scheduler", "text", "slider.sampler", choices=_SAMPLERS, fill=True, default="ddim"),
    sets("train.iterations", "int", "train.steps", fill=True, default=500),
    sets("train.lr", "float", "optimizer.lr", fill=True, default=1e-4),
    sets("train.optimizer", "text", "optimizer.name", default="adamw"),
    sets("train.optimizer_args", "text", "optimizer.args"),
    sets("train.lr_scheduler", "text", "schedule.kind", choices=_SCHEDULES, fill=True, default="constant"),
    sets("train.max_denoising_steps", "int", "slider.steps", "slider.points", default=50),
    Option("train.batch_size", "int", "no effect", (), "LECO reads the batch size from the prompts"),
    sets("save.name", "text", "name"),
    Option("save.path", "text", "no effect", (), "the run folder is given by --run"),
    sets("save.per_steps", "int", "save.every_steps", fill=True, default=200),
    sets("save.precision", "text", "save.dtype", choices=DTYPES, fill=True, default="float32"),
    Option("logging.use_wandb", "flag", "no effect", (), "does not change the training"),
    Option("logging.verbose", "flag", "no effect", (), "does not change the training"),
    Option("other.use_xformers", "flag", "built in", (), "PyTorch's own attention is as fast"),
    converters=(_optimizer, _denoising),
)  # fmt: skip
"""Keys of LECO's settings, with points, and its defaults."""

_FIXED = {
    "kind": "slider",
    "slider.trajectories": "slider",
    "slider.both_ways": False,
    "schedule.warmup": 0,
    "save.every_epochs": 0,
}
"""What LECO does whatever its settings say."""


def detects(document: Document) -> bool:
    """Whether the document is LECO's settings, or a list of its prompts."""
    if "prompts_file" in document.table and "pretrained_model" in document.table:
        return True
    entries = document.data if isinstance(document.data, list) else []
    return bool(entries) and all(
        isinstance(e, Mapping) and "target" in e and ("positive" in e or "unconditional" in e) for e in entries
    )


def read(documents: Sequence[Document]) -> Draft:
    """Convert LECO's settings with their prompts.

    Raises:
        UsageError: the prompts are missing, or a prompt has no target.
    """
    settings = next((d for d in documents if not isinstance(d.data, list)), None)
    prompts = next((d for d in documents if isinstance(d.data, list)), None)
    values: dict[str, Any] = {"kind": "slider"}
    origins: dict[str, str] = {}
    notes: list[Note] = []
    if settings is not None:
        given = {name: GivenValue(value, name) for name, value in _flat(settings.table)}
        read_settings = Settings(OPTIONS, given, trainer=TITLE, folder=settings.folder)
        values, origins, notes = convert(read_settings)
        prompts = prompts or _prompts_of(settings, str(read_settings["prompts_file"] or ""))
        values |= _FIXED
        origins |= dict.fromkeys(_FIXED, "LECO does so")
    assert prompts is not None, "detects() saw settings or prompts"
    values, more = _with_prompts(values, prompts)
    origins["slider.prompts"] = str(prompts.path)
    return Draft(values, (), origins, [*reported(notes), *more])


def _prompts_of(settings: Document, name: str) -> Document:
    """Open the prompts that the settings name, beside them or in the working directory."""
    path = existing_path(name, settings.folder) if name else None
    if path is None or path.is_dir():
        raise UsageError(
            f"{settings.path}: prompts_file = {name!r} does not exist",
            hint="put it beside the settings, or give both files: bakehouse import SETTINGS PROMPTS",
        )
    return open_document(path)


def _flat(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, value


_OF_A_PROMPT = frozenset(
    ("target", "positive", "unconditional", "neutral", "action", "guidance_scale", "resolution", "batch_size",
     "dynamic_resolution", "dynamic_crops")
)  # fmt: skip


def _with_prompts(values: Mapping[str, Any], document: Document) -> tuple[dict[str, Any], list[Note]]:
    """Return the values with the prompts; sizes and the batch are the same for all prompts here.

    Raises:
        UsageError: no list of prompts, or a prompt without a target.
    """
    entries = document.data
    if not isinstance(entries, list) or not entries or not all(isinstance(e, Mapping) for e in entries):
        raise UsageError(f"{document.path} is not a list of prompts", hint="expected `- target: ...` for each prompt")
    prompts, notes = [], []
    for number, entry in enumerate(entries):
        where = f"prompts.{number}"
        if "target" not in entry:
            raise UsageError(f"{document.path}: prompt {number} has no target", hint="add target: to it")
        prompts.append(_prompt(entry, where))
        for key, value in entry.items():
            if key not in _OF_A_PROMPT:
                notes.append(Note(f"{where}.{key}", value, "unknown", "LECO has no such key"))
            elif key == "dynamic_crops" and value:
                notes.append(Note(f"{where}.{key}", value, "unsupported", "images are conditioned as not cropped"))
    sides = dict.fromkeys(table_entry(e, "resolution", "int", 512, "prompts") for e in entries)
    added: dict[str, Any] = {"slider.prompts": prompts, "slider.sizes": [[side, side] for side in sides]}
    if any(table_entry(e, "dynamic_resolution", "flag", False, "prompts") for e in entries):
        added["slider.vary_sizes"] = True
    batches = [table_entry(e, "batch_size", "int", 1, "prompts") for e in entries]
    added["train.batch"] = max(batches)
    if len(set(batches)) > 1:
        notes.append(Note("batch_size", batches, "unsupported", f"one batch size for all prompts: {max(batches)}"))
    return {**values, **added}, notes


def _prompt(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return one prompt, with LECO's defaults: the neutral prompt is the unconditional one, and the action is erase."""
    target = table_entry(entry, "target", "text", "", where)
    unconditional = table_entry(entry, "unconditional", "text", "", where)
    return {
        "target": target,
        "positive": table_entry(entry, "positive", "text", target, where),
        "negative": unconditional,
        "neutral": table_entry(entry, "neutral", "text", unconditional, where),
        "action": table_entry(entry, "action", "text", "erase", where),
        "guidance": table_entry(entry, "guidance_scale", "float", 1.0, where),
    }
