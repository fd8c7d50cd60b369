"""Makes a recipe of a converted draft; values that the recipe does not allow are removed and reported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import UsageError
from bakehouse.core.settings import set_dotted
from bakehouse.models.base_conventions import conventions_of
from bakehouse.recipe.importers.import_report import Imported, Note
from bakehouse.recipe.recipe import Recipe

_ROUNDS = 100
"""Limit on validations: each removes one invalid value, and the rest is validated again."""


@dataclass(frozen=True)
class Draft:
    """Values for a recipe that are not validated yet."""

    values: Mapping[str, Any]
    """By dotted key, without the concepts."""
    concepts: Sequence[Mapping[str, Any]] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[Note] = ()


def recipe_from_draft(
    draft: Draft,
    *,
    trainer: str,
    title: str,
    sources: Sequence[str],
    images: Path | None = None,
    subject: str | None = None,
    kind: str | None = None,
) -> Imported:
    """Validate a draft and return its recipe with the report.

    Args:
        images: the folder of images, instead of those that the settings name.
        subject: trigger and class word, where the settings name none.
        kind: what is taught.

    Raises:
        UsageError: the settings name no images, and neither does `images`.
    """
    values: dict[str, Any] = {}
    for key, value in draft.values.items():
        set_dotted(values, key.split("."), _without_nulls(value))
    origins = dict(draft.origins)
    if kind:
        values["kind"] = kind
        origins["kind"] = "--kind"
    if values.get("kind") != "slider":
        values["concepts"] = _concepts(draft.concepts, images, subject, origins)
    _keep_as_trained_there(values, origins)
    recipe, more = _validated(values, origins, title)
    # A folder that is said here takes the place of one that is not there.
    notes = [n for n in draft.notes if images is None or not n.is_lost or n.sets != ("concepts",)]
    return Imported(trainer, title, tuple(sources), recipe, origins, (*notes, *more))


def _keep_as_trained_there(values: dict[str, Any], origins: dict[str, str]) -> None:
    """Write down what the settings leave out and the plan would take from the base's conventions: clip skip and so on.

    Other trainers leave nothing of a training to the base's name.
    """
    model, prior = values.get("model", {}), values.get("prior", {})
    usual = conventions_of(str(model.get("base", BUNDLED_BASE)))
    if usual is None:
        return
    kept: dict[str, Any] = {"model.clip_skip": 1} if usual.conventions.clip_skip != 1 else {}
    if prior.get("source") in ("class", "captions"):
        kept |= {f"prior.{name}": "" for name in ("quality", "negative") if getattr(usual.conventions, name)}
    for key, value in kept.items():
        table, _, name = key.partition(".")
        if name not in values.setdefault(table, {}):
            values[table][name] = value
            origins[key] = "not set there"


def _without_nulls(value: Any) -> Any:
    """Drop null values, since TOML has none."""
    if isinstance(value, Mapping):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value if v is not None] if isinstance(value, list) else value


def _concepts(
    found: Sequence[Mapping[str, Any]], images: Path | None, subject: str | None, origins: dict[str, str]
) -> list[dict[str, Any]]:
    concepts = [dict(c) for c in found]
    if images is not None:
        concepts = [{**(concepts[0] if len(concepts) == 1 else {}), "folder": str(images.resolve())}]
        for key in [k for k in origins if k.startswith("concepts.")]:
            if len(found) != 1 or key == "concepts.0.folder":
                del origins[key]
        origins["concepts.0.folder"] = "--images"
    if not concepts:
        raise UsageError(
            "the settings name no image folder",
            hint='pass --images DIR --subject "zwx person", or also pass the file that names it',
        )
    if subject:
        for i, concept in enumerate(concepts):
            # The settings' own words would win over those of the subject.
            for key in ("trigger", "class_word"):
                concept.pop(key, None)
                origins.pop(f"concepts.{i}.{key}", None)
            concept["subject"] = subject
            origins[f"concepts.{i}.subject"] = "--subject"
    return concepts


def _validated(values: dict[str, Any], origins: dict[str, str], title: str) -> tuple[Recipe, list[Note]]:
    notes: list[Note] = []
    for _ in range(_ROUNDS):
        try:
            return Recipe.model_validate(values), notes
        except ValidationError as e:
            notes.append(_take_out(values, origins, e.errors()[0]))
    raise UsageError(
        f"these {title} settings could not be converted into a valid recipe", hint="; ".join(str(n) for n in notes[-3:])
    )


def _take_out(values: dict[str, Any], origins: dict[str, str], error: Any) -> Note:
    """Remove the value that an error is about, and return a note with the key as the user wrote it."""
    path = _path(values, error["loc"])
    if not path:
        raise UsageError(f"the settings could not be converted into a valid recipe: {error['msg']}")
    here: Any = values
    for part in path[:-1]:
        here = here[part]
    value = here.pop(path[-1])
    key = ".".join(str(p) for p in path)
    below = [k for k in origins if k == key or k.startswith(f"{key}.")]
    said = ", ".join(dict.fromkeys(origins.pop(k) for k in below)) or key
    message = re.sub(r"^(Value error, |Input should be )", "", str(error["msg"]))
    return Note(said, value, "unsupported", f"{key} is not set: {message}", sets=(key,))


def _path(values: Any, loc: Sequence[Any]) -> list[Any]:
    """Return the path of an error in the values; tags of unions in the error's location are skipped."""
    path: list[Any] = []
    here = values
    for part in loc:
        if (isinstance(here, list) and isinstance(part, int) and part < len(here)) or (
            isinstance(here, dict) and part in here
        ):
            path.append(part)
            here = here[part]
    # Never the whole list of concepts, and never a concept's folder.
    return path if path and path != ["concepts"] and path[-1] != "folder" else []
