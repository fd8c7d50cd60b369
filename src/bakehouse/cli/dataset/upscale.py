from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

Model = Annotated[
    str, typer.Option(metavar="anime|photo|NAME|FILE", help="The upscaler, or a filter that does not enlarge.")
]
Before = Annotated[str, typer.Option(metavar="NAME|FILE", help="A filter that runs before it: against JPEG noise.")]
Resolution = Annotated[int, typer.Option(metavar="PIXELS", help="What will be trained at.")]
Least = Annotated[float, typer.Option(metavar="TIMES", help="Images that need less are left as they are.")]
Tile = Annotated[int, typer.Option(metavar="PIXELS", help="Side of the pieces that are computed at once.")]


@spread
def upscale(
    folder: Folder, *, model: Model = "auto", before: Before = "", resolution: Resolution = 512, least: Least = 1.05,
    tile: Tile = 256, way: Way,
) -> None:  # fmt: skip
    """Enlarge images that are too small, to the size that their bucket needs."""
    from bakehouse.cli.dataset.run_operation import run_verb
    from bakehouse.curation.upscale import Upscale

    values = {"model": model, "before": before, "resolution": resolution, "least": least, "tile": tile}
    run_verb(folder, Upscale.parse(values, source="dataset upscale"), way)
