"""Options that say how the images of an audit will be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.options import Subject

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
