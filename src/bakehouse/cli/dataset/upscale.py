from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Model = Annotated[
    str, typer.Option(metavar="anime|photo|NAME|FILE", help="Upscaler, or a filter that does not enlarge.")
]
Before = Annotated[str, typer.Option(metavar="NAME|FILE", help="Filter to run first, e.g. against JPEG noise.")]
Resolution = Annotated[int, typer.Option(metavar="PIXELS", help="Training resolution.")]
Least = Annotated[
    float, typer.Option(metavar="TIMES", help="Minimum enlargement; images that need less are left as they are.")
]
Tile = Annotated[int, typer.Option(metavar="PIXELS", help="Tile size.")]


@expand_option_groups
def upscale(
    folder: Folder, *, model: Model = "auto", before: Before = "", resolution: Resolution = 512, least: Least = 1.05,
    tile: Tile = 256, options: RunOptions,
) -> None:  # fmt: skip
    """Enlarge images that are smaller than their bucket."""
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.curation.upscale import Upscale

    values = {"model": model, "before": before, "resolution": resolution, "least": least, "tile": tile}
    run_operation(folder, Upscale.parse(values, source="dataset upscale"), options)
