"""Recognizes files of other trainers that cannot be imported, and refuses them with the next step."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.settings_file import Document
from bakehouse.recipe.importers.shipped_tables import shipped_table

_BY_HAND = (
    'bakehouse reads no such file: make a recipe with `bakehouse plan IMAGES --subject "zwx person" -o me.toml` and '
    "write learning rate, rank, steps and base model into it"
)


@dataclass(frozen=True)
class Unsupported:
    """A kind of file that cannot be imported."""

    what: Callable[[Document], str]
    """Returns what the file is, to follow its path: `is LECO's: ...`; empty if it is another kind of file."""
    hint: str
    """The next step; FILE is replaced by the path."""


def refuse_unsupported(document: Document) -> None:
    """Refuse a document of a known kind that cannot be imported.

    Raises:
        UsageError: with what the file is and the next step.
    """
    for kind in _KINDS:
        if what := kind.what(document):
            raise UsageError(f"{document.path} {what}", hint=kind.hint.replace("FILE", str(document.path)))


def _entries(document: Document) -> list[Mapping[str, Any]]:
    """Return the tables of a list of tables; none if it is anything else."""
    data = document.data
    whole = isinstance(data, list) and bool(data) and all(isinstance(x, Mapping) for x in data)
    return data if whole else []


def _recipe(document: Document) -> str:
    own = "concepts" in document.table or document.table.get("kind") == "slider"
    return "is a recipe already" if document.format == "toml" and own else ""


_SIMPLE_TUNER_FAMILIES = {"sd1x": "SD 1.x", "sd2x": "SD 2.x", "sdxl": "SDXL"}


def _plain(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys without leading dashes; those of SimpleTuner's window are in `config`."""
    config = table.get("config")
    inner = config if "_metadata" in table and isinstance(config, Mapping) else table
    return {str(k).lstrip("-"): v for k, v in inner.items()}


def _simple_tuner_other(document: Document) -> str:
    family = _plain(document.table).get("model_family")
    if not isinstance(family, str) or family in _SIMPLE_TUNER_FAMILIES:
        return ""
    return f"is SimpleTuner's and trains the family {family!r}"


def _simple_tuner(document: Document) -> str:
    keys = _plain(document.table)
    family = keys.get("model_family")
    if isinstance(family, str):
        return f"is SimpleTuner's, for {_SIMPLE_TUNER_FAMILIES[family]}"
    own = {"data_backend_config", "checkpoint_step_interval", "base_model_precision"}
    return "is SimpleTuner's" if own & set(keys) else ""


def _simple_tuner_data(document: Document) -> str:
    entries = _entries(document)
    own = {"cache_dir", "cache_dir_vae", "dataset_type", "caption_strategy", "metadata_backend"}
    if entries and all("id" in e for e in entries) and any(own & set(e) for e in entries):
        return "is SimpleTuner's list of data sets, no settings"
    return ""


def _lycoris(document: Document) -> str:
    table = document.table
    if "algo" in table and ({"apply_preset", "linear_dim", "linear_alpha", "multiplier"} & set(table)):
        return f"is a LyCORIS network (algo = {table['algo']!r}) without a training"
    return ""


def _concepts(document: Document) -> str:
    entries = _entries(document)
    return "is a list of concepts, no settings" if entries and "instance_data_dir" in entries[0] else ""


_THEIRS = re.compile(
    r"train_(dreambooth|text_to_image|controlnet|control_|t2i_adapter|instruct_pix2pix|lcm_distill|diffusion_|custom_diffusion|"
    r"unconditional|vqgan|autoencoder|gligen|cogvideox|cosmos|amused|llada2|cm_ct|multi_subject|pixart|realfill|"
    r"sana_sprint|sdxl_lpl)\w*\.py|tutorial_train[\w-]*\.py|textual_inversion(_sdxl)?\.py"
)


def _diffusers(document: Document) -> str:
    from bakehouse.recipe.importers.diffusers_scripts import SCRIPTS

    script = document.command.script if document.command else ""
    if script in SCRIPTS or not _THEIRS.fullmatch(script):
        return ""
    others = shipped_table("other_models.toml")
    method, model = (
        next((name for pattern, name in others[kind].items() if re.search(pattern, script)), "")
        for kind in ("diffusers_methods", "diffusers_models")
    )
    trains = (
        f"trains {' for '.join(part for part in (method, model) if part)}" if method or model else "is not supported"
    )
    return f"calls {script}, which {trains}"


_KINDS: tuple[Unsupported, ...] = (
    Unsupported(_recipe, "train it as it is: `bakehouse train FILE`"),
    Unsupported(_simple_tuner_other, "bakehouse trains SD 1.x, SD 2.x and SDXL; train this one with SimpleTuner"),
    Unsupported(_simple_tuner, _BY_HAND),
    Unsupported(_simple_tuner_data, "name its folders of images: `bakehouse plan IMAGES -o me.toml`"),
    Unsupported(_lycoris, "its keys are those of [adapter]: see `docs/adapters.md`"),
    Unsupported(_concepts, "`bakehouse plan FILE -o me.toml`"),
    Unsupported(
        _diffusers, "bakehouse trains SD 1.x, SD 2.x and SDXL, with LoRA or whole; run this one with diffusers"
    ),
)
"""In the order in which they are tried."""
