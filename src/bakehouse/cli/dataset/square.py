from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Fill = Annotated[
    str,
    typer.Option(
        metavar="COLOR|edge", help="Padding colour, e.g. white or #ff8800, or edge: repeat the outermost pixels."
    ),
]
Place = Annotated[Literal["center", "top", "bottom"], typer.Option(help="Vertical position of a wide image.")]
Tolerance = Annotated[
    float, typer.Option(metavar="SHARE", help="Relative side difference up to which an image is left as it is.")
]


@expand_option_groups
def square(
    folder: Folder, *, fill: Fill = "white", place: Place = "center", tolerance: Tolerance = 0.0, options: RunOptions
) -> None:
    """Pad images to squares. Masks are padded with black."""
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.curation.square import Square

    values = {"fill": fill, "place": place, "tolerance": tolerance}
    run_operation(folder, Square.parse(values, source="dataset square"), options)
