"""Settings of an audit: how the images will be used, from options, a recipe, a base model and declared triggers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bakehouse.cli.captions.options import Vocabulary
from bakehouse.cli.options import Subject

if TYPE_CHECKING:
    from bakehouse.audit import AuditSpec
    from bakehouse.recipe import Recipe

Kind = Literal["character", "outfits", "pack", "style", "concept", "pose", "object", "dreambooth"]


@dataclass(frozen=True)
class AuditOptions:
    """Options of `audit` and `drop`: both must use the same settings to find the same."""

    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="Recipe to take these settings from.")] = None
    subject: Subject = None
    kind: Annotated[Kind | None, typer.Option(help="Kind of subject. Default: character.")] = None
    base: Annotated[str | None, typer.Option(metavar="MODEL", help="Base model. Default: any SD 1.5.")] = None
    resolution: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Training resolution. Default: the base model's.")
    ] = None
    batch: Annotated[int | None, typer.Option(metavar="N", help="Batch size. Default: 1.")] = None
    vocabulary: Vocabulary = None
    faces: Annotated[
        bool | None, typer.Option("--faces/--no-faces", help="Detect faces. Default: on for up to 100 images.")
    ] = None
    text: Annotated[
        bool | None, typer.Option("--text/--no-text", help="Detect text. Default: on for up to 100 images.")
    ] = None


def audit_spec(folder: Path, options: AuditOptions) -> AuditSpec:
    """Return the settings of an audit: a recipe's or a base model's, changed by the options.

    Triggers that a file beside the images declares are used unless a recipe or `--subject` names others.

    Raises:
        UsageError: no such recipe or model.
        Problems: wrong values, all at once.
    """
    from bakehouse.audit import AuditSpec

    values: dict[str, Any] = _from_recipe(folder, options.recipe) if options.recipe else _from_base(options.base or "")
    names = ("kind", "batch", "vocabulary", "faces", "text")
    values |= {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.resolution:
        values["buckets"] = {**values["buckets"], "resolution": options.resolution}
    if options.subject:
        word, _, rest = options.subject.strip().partition(" ")
        values["triggers"] = [{"word": word, "class_word": rest.strip(), "strategy": "fluid"}]
    elif "triggers" not in values and (declared := _declared_triggers(folder)):
        values |= {"triggers": declared, "declared": True}
    return AuditSpec.parse(values, source="dataset audit")


def _from_base(base: str) -> dict[str, Any]:
    """Return family, buckets and tokenizer of a base model; of SD 1.5 if none is named."""
    from bakehouse.models import resolve_model
    from bakehouse.models.families import family_of, native_size

    if not base:
        return {"base": "sd15", "family": "sd1", "buckets": {"resolution": 512}}
    model = resolve_model(base)
    side = native_size(model)
    values: dict[str, Any] = {
        "base": base,
        "family": family_of(model).name,
        "buckets": {"resolution": side, "step": 32 if side < 256 else 64},
    }
    if model.path is not None and (found := model.path / "tokenizer" / "tokenizer.json").is_file():
        values["tokenizer"] = found
    return values


def _from_recipe(folder: Path, path: Path) -> dict[str, Any]:
    """Return the audit settings of a recipe; numbers that the plan derives are left open."""
    from bakehouse.recipe import Recipe

    recipe = Recipe.load(path)
    captions, row = recipe.captions, recipe.optimizer.row
    values = _from_base(recipe.model.base)
    values["buckets"] |= recipe.buckets.settings()
    values |= {
        "recipe": str(path),
        # An embedding's images are those of a subject; a slider's show one thing at several strengths.
        "kind": {"embedding": "character", "slider": "concept"}.get(recipe.kind, recipe.kind),
        "batch": recipe.train.batch_size,
        "keep_tokens": captions.keep_tokens,
        "mark": captions.keep_tokens_separator,
        "max_tokens": recipe.model.max_tokens,
        "optimizer": "prodigy" if row.finds_rate else "adamw",
        "faster": recipe.loss.weighting.kind in ("min_snr", "soft_min_snr") or recipe.noise.ip_gamma > 0,
        # The plan chooses repeats that the recipe leaves open, and with them the total. A slider is trained by steps.
        "epochs": recipe.train.epochs if recipe.kind != "slider" and all(c.repeats for c in recipe.concepts) else None,
        "repeats": {name: c.repeats for c in recipe.concepts if c.repeats for name in _inside(c.folder, folder)},
        "reg": _inside(recipe.prior.folder, folder) if recipe.prior.folder else (),
        "triggers": [t.settings() for t in recipe.triggers] or _subject_triggers(recipe),
        "compiled": bool(recipe.triggers) or bool(captions.prefix),
    }
    return values


def _inside(path: Path, folder: Path) -> tuple[str, ...]:
    """Return the path relative to the dataset (`.` for the dataset itself); nothing if it is outside."""
    inside, root = path.resolve(), folder.resolve()
    return (inside.relative_to(root).as_posix(),) if inside.is_relative_to(root) else ()


def _subject_triggers(recipe: Recipe) -> list[dict[str, Any]]:
    alone = len(recipe.concepts) == 1
    return [
        {"word": c.trigger_word, "class_word": c.class_name, "strategy": "fluid",
         "folders": () if alone else (c.folder.name,)}
        for c in recipe.concepts if c.trigger_word
    ]  # fmt: skip


def _declared_triggers(folder: Path) -> list[dict[str, Any]]:
    from bakehouse.captions.triggers import find_triggers
    from bakehouse.data.triggers import TRIGGER_FILE

    if not any((place / TRIGGER_FILE).is_file() for place in (folder, folder.parent)):
        return []
    return [trigger.settings() for trigger in find_triggers(folder)]
