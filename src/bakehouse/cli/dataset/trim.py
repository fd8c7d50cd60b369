from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Fuzz = Annotated[float, typer.Option(metavar="SHARE", help="Colour tolerance of a border, 0 to 1.")]
Most = Annotated[float, typer.Option(metavar="SHARE", help="Maximum share of a side to cut from one edge.")]
Shortest = Annotated[int, typer.Option(metavar="PIXELS", help="Minimum side after trimming.")]
Least = Annotated[int, typer.Option(metavar="PIXELS", help="Minimum border width to cut.")]
Margin = Annotated[int, typer.Option(metavar="PIXELS", help="Border width to keep.")]


@expand_option_groups
def trim(
    folder: Folder, *, fuzz: Fuzz = 0.04, most: Most = 0.45, shortest: Shortest = 256, least: Least = 2,
    margin: Margin = 0, options: RunOptions,
) -> None:  # fmt: skip
    """Cut off uniform borders: letterboxes, frames, empty space."""
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.curation.trim import Trim

    values = {"fuzz": fuzz, "most": most, "shortest": shortest, "least": least, "margin": margin}
    run_operation(folder, Trim.parse(values, source="dataset trim"), options)
