"""How the images of an audit will be used: by options, or as a recipe says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bakehouse.cli.options import Subject

if TYPE_CHECKING:
    from bakehouse.curate.audit import AuditSpec

Kind = Literal["character", "outfits", "pack", "style", "concept", "pose", "object", "dreambooth"]


@dataclass(frozen=True)
class Use:
    """What the audit and `drop` have to know to find the same."""

    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="Take all of this from a recipe.")] = None
    subject: Subject = None
    kind: Annotated[Kind | None, typer.Option(help="What is taught. Left out: character.")] = None
    base: Annotated[str | None, typer.Option(metavar="MODEL", help="The base model. Left out: an SD 1.5.")] = None
    resolution: Annotated[int | None, typer.Option(metavar="PIXELS", help="Left out: the base model's own.")] = None
    batch: Annotated[int | None, typer.Option(help="Images a step. Left out: 1.")] = None
    vocabulary: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="What the base knows: crumb, a tagger, selected_tags.csv.")
    ] = None
    faces: Annotated[bool | None, typer.Option("--faces/--no-faces", help="Left out: up to 100 images.")] = None
    text: Annotated[bool | None, typer.Option("--text/--no-text", help="Left out: up to 100 images.")] = None


def spec_of(folder: Path, use: Use) -> AuditSpec:
    """The settings of an audit: a recipe's, with the options laid over them; triggers of a file beside the images.

    Raises:
        UsageError: no such recipe or model.
        Problems: wrong values, all at once.
    """
    from bakehouse.cli.dataset.audit_recipe import of_base, of_recipe
    from bakehouse.curate.audit import AuditSpec

    values: dict[str, Any] = of_recipe(folder, use.recipe) if use.recipe else of_base(use.base or "")
    given = {"kind": use.kind, "batch": use.batch, "vocabulary": use.vocabulary, "faces": use.faces, "text": use.text}
    values |= {name: value for name, value in given.items() if value is not None}
    if use.resolution:
        values["buckets"] = {**values["buckets"], "resolution": use.resolution}
    if use.subject:
        word, _, rest = use.subject.strip().partition(" ")
        values["triggers"] = [{"word": word, "class_word": rest.strip(), "strategy": "fluid"}]
    elif "triggers" not in values and (declared := _declared(folder)):
        values |= {"triggers": declared, "declared": True}
    return AuditSpec.parse(values, source="dataset audit")


def _declared(folder: Path) -> list[dict[str, Any]]:
    from bakehouse.curate.triggers import find_triggers
    from bakehouse.curate.triggers.compiling import TRIGGER_FILE

    if not any((place / TRIGGER_FILE).is_file() for place in (folder, folder.parent)):
        return []
    return [trigger.settings() for trigger in find_triggers(folder)]
