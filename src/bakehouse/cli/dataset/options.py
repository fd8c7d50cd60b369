"""Options that every verb of `bakehouse dataset` has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The dataset: a folder of images.")]


@dataclass(frozen=True)
class Way:
    """How a verb is carried out: a command decorated with `spread` has one option for each field."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be done; write nothing.")] = False
    preview: Annotated[
        Path | None, typer.Option(metavar="PAGE.html", help="Write a page of before and after; change nothing.")
    ] = None
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Copy the dataset there and work on the copy.")
    ] = None
    json: Json = False
    quiet: Quiet = False
