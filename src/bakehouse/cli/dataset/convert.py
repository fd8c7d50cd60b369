from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

NamesOnly = Annotated[bool, typer.Option("--names-only", help="Only mend wrong extensions; contents stay.")]
Frames = Annotated[Literal["first", "distinct", "all"], typer.Option(help="Which frames of an animation to keep.")]


@spread
def convert(folder: Folder, *, names_only: NamesOnly = False, frames: Frames = "first", way: Way) -> None:
    """Make every image a plain PNG: upright, 8-bit, sRGB, named by what it is."""
    from bakehouse.cli.dataset.run_operation import run_verb
    from bakehouse.curation.convert import Convert

    run_verb(folder, Convert(names_only=names_only, frames=frames), way)
