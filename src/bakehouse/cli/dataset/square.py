from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

Fill = Annotated[str, typer.Option(metavar="COLOR|edge", help="white, #ff8800, or edge: the outermost pixels go on.")]
Place = Annotated[Literal["center", "top", "bottom"], typer.Option(help="Where a wide picture stands in its square.")]
Tolerance = Annotated[float, typer.Option(metavar="SHARE", help="Sides that differ by no more than this may stay.")]


@spread
def square(
    folder: Folder, *, fill: Fill = "white", place: Place = "center", tolerance: Tolerance = 0.0, way: Way
) -> None:
    """Pad images to squares; nothing is cut, and masks are padded with black."""
    from bakehouse.cli.dataset.run_operation import run_verb
    from bakehouse.curation.square import Square

    values = {"fill": fill, "place": place, "tolerance": tolerance}
    run_verb(folder, Square.parse(values, source="dataset square"), way)
