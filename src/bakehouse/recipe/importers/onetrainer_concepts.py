"""Conversion of OneTrainer's concepts, folders of images with their own settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bakehouse.recipe.importers.common import folder_path
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.onetrainer_converters import listed_tables
from bakehouse.recipe.importers.option_table import Settings
from bakehouse.recipe.importers.value_types import table_entry

_DEFAULTS: Mapping[str, Any] = {
    "loss_weight": 1.0,
    "balancing_strategy": "REPEATS",
    "text.prompt_source": "sample",
    "text.tag_dropout_enable": False,
    "text.caps_randomize_enable": False,
    "image.enable_fixed_flip": False,
    "image.enable_random_rotate": False,
    "image.enable_fixed_rotate": False,
    "image.enable_random_brightness": False,
    "image.enable_random_contrast": False,
    "image.enable_random_saturation": False,
    "image.enable_random_hue": False,
    "image.enable_resolution_override": False,
    "image.enable_random_circular_mask_shrink": False,
    "image.enable_random_mask_rotate_crop": False,
}
"""Defaults of concept settings that a recipe does not have."""


@dataclass
class Concepts:
    """The converted concepts."""

    concepts: list[dict[str, Any]] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    """Values that all concepts share, and class images."""
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)


def concepts_of(s: Settings) -> Concepts:
    """Convert the concepts in the settings or in their file.

    Raises:
        UsageError: a value cannot be read, or the file is not a list of tables.
    """
    entries = s["concepts"] or listed_tables(s, "concept_file_name")
    source = "concepts" if s["concepts"] else "concept_file_name"
    found = Concepts()
    if not entries and s.given("concept_file_name") and s["concept_file_name"]:
        why = "file not found: pass --images DIR"
        found.notes.append(s.note("concept_file_name", "unsupported", why, sets=("concepts",)))
    taught: list[Mapping[str, Any]] = []
    for at, entry in enumerate(entries):
        where = f"{source}.{at}"
        path, named = (table_entry(entry, n, "text", "", where) for n in ("path", "name"))
        if not path or not table_entry(entry, "enabled", "flag", True, where):
            continue
        said = f"{s.source_key(source)}: {named or path}"
        folder = str(folder_path(path, s.folder))
        kind = (
            "VALIDATION" if entry.get("validation_concept") else table_entry(entry, "type", "text", "STANDARD", where)
        )
        if kind == "PRIOR_PREDICTION" and "prior.source" not in found.values:
            _class_images(entry, folder, where, said, found)
        elif kind != "STANDARD":
            found.notes.append(
                Note(
                    said, kind, "unsupported", "only STANDARD concepts and the first PRIOR_PREDICTION concept are used"
                )
            )
        else:
            found.notes += _lost(entry, said)
            concept = {"folder": folder, "subject": named, "repeats": _repeats(entry, where)}
            found.origins |= {f"concepts.{len(taught)}.{k}": said for k in concept}
            found.concepts.append(concept)
            taught.append(entry)
    found.values |= _of_all(taught)
    return found


def _repeats(entry: Mapping[str, Any], where: str) -> int | float:
    repeats: float = table_entry(entry, "balancing", "float", table_entry(entry, "repeats", "float", 1.0, where), where)
    return max(1, round(repeats)) if math.isfinite(repeats) else repeats


def _class_images(entry: Mapping[str, Any], folder: str, where: str, said: str, found: Concepts) -> None:
    """Convert images whose target is the prediction of the model without its adapter."""
    values = {
        "prior.source": "folder",
        "prior.folder": folder,
        "prior.target": "base",
        "prior.weight": table_entry(entry, "loss_weight", "float", 1.0, where),
    }
    found.values |= values
    found.origins |= dict.fromkeys(values, said)
    why = "class images: as many per batch as subject images"
    found.notes.append(Note(said, "PRIOR_PREDICTION", "set", why, sets=("prior.folder",)))


def _lost(entry: Mapping[str, Any], where: str) -> Iterator[Note]:
    """Yield notes on a concept's own settings that are lost."""
    for name, default in _DEFAULTS.items():
        part, _, key = name.rpartition(".")
        value = (table_entry(entry, part, "table", {}, where) if part else entry).get(key, default)
        if value != default:
            yield Note(f"{where}: {name}", value, "unsupported", "concepts have no such setting")


def _of_all(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values that apply to all images, as every concept has them."""
    if not entries:
        return {}
    values: dict[str, Any] = {}
    images, texts = ([e.get(part) or {} for e in entries] for part in ("image", "text"))
    if all(image.get("enable_random_flip") for image in images):
        values["data.flip"] = True
    if all(text.get("enable_tag_shuffling") for text in texts):
        values["captions.shuffle"] = True
        values["captions.keep_tokens"] = min(table_entry(t, "keep_tags_count", "int", 1, "text") for t in texts)
    return values
