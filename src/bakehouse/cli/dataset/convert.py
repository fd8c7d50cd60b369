from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

NamesOnly = Annotated[bool, typer.Option("--names-only", help="Only fix wrong file extensions; do not convert.")]
Frames = Annotated[Literal["first", "distinct", "all"], typer.Option(help="Frames of animated images to keep.")]


@expand_option_groups
def convert(folder: Folder, *, names_only: NamesOnly = False, frames: Frames = "first", options: RunOptions) -> None:
    """Convert images to PNG: upright, 8-bit, sRGB, with correct names."""
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.curation.convert import Convert

    run_operation(folder, Convert(names_only=names_only, frames=frames), options)
