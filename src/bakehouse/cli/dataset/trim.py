from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

Fuzz = Annotated[float, typer.Option(metavar="SHARE", help="How far a border may be from one colour; 1 is the most.")]
Most = Annotated[float, typer.Option(metavar="SHARE", help="Of a side: no edge loses more.")]
Shortest = Annotated[int, typer.Option(metavar="PIXELS", help="No side becomes shorter.")]
Least = Annotated[int, typer.Option(metavar="PIXELS", help="Thinner borders stay.")]
Margin = Annotated[int, typer.Option(metavar="PIXELS", help="So much of a border stays around the picture.")]


@spread
def trim(
    folder: Folder, *, fuzz: Fuzz = 0.04, most: Most = 0.45, shortest: Shortest = 256, least: Least = 2,
    margin: Margin = 0, way: Way,
) -> None:  # fmt: skip
    """Cut uniform borders away: letterboxes, frames, empty space; dark rooms and skies stay."""
    from bakehouse.cli.dataset.run_operation import run_verb
    from bakehouse.curation.trim import Trim

    values = {"fuzz": fuzz, "most": most, "shortest": shortest, "least": least, "margin": margin}
    run_verb(folder, Trim.parse(values, source="dataset trim"), way)
