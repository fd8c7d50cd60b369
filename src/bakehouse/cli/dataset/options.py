"""Options that every dataset operation has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Dataset: a folder of images.")]


@dataclass(frozen=True)
class RunOptions:
    """How an operation is run; `expand_option_groups` makes an option of each field."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done; write nothing.")] = False
    preview: Annotated[
        Path | None,
        typer.Option(metavar="PAGE.html", help="Write an HTML page with images before and after; change nothing else."),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Copy the dataset to this folder and change the copy."),
    ] = None
    json: Json = False
    quiet: Quiet = False
