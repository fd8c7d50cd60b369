from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Model = Annotated[
    str,
    typer.Option(
        metavar="anime|photo|NAME|FILE",
        help="Upscaler, or a filter that does not enlarge. lanczos: no network. none: only --img2img.",
    ),
]
Before = Annotated[str, typer.Option(metavar="NAME|FILE", help="Filter to run first, e.g. against JPEG noise.")]
Resolution = Annotated[int, typer.Option(metavar="PIXELS", help="Training resolution.")]
Least = Annotated[
    float, typer.Option(metavar="TIMES", help="Minimum enlargement; images that need less are left as they are.")
]
Tile = Annotated[int, typer.Option(metavar="PIXELS", help="Tile size.")]
Img2img = Annotated[
    float | None,
    typer.Option("--img2img", metavar="SHARE", help="Repair with a trained model; 0.1 to 0.3 keeps what is shown."),
]
With = Annotated[str, typer.Option("--with", metavar="MODEL", help="Model for --img2img: a run or an adapter.")]
Seed = Annotated[int, typer.Option(help="Seed for --img2img.")]


@expand_option_groups
def upscale(
    folder: Folder, *, model: Model = "auto", before: Before = "", resolution: Resolution = 512, least: Least = 1.05,
    tile: Tile = 256, img2img: Img2img = None, with_: With = "", seed: Seed = 0, options: RunOptions,
) -> None:  # fmt: skip
    """Enlarge images that are smaller than their bucket.

    With --img2img they are then repaired by a trained model.
    """
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.core.errors import UsageError
    from bakehouse.curation.upscale import Upscale

    values = {"model": model, "before": before, "resolution": resolution, "least": least, "tile": tile}
    if (img2img is None) != (not with_):
        raise UsageError("--img2img and --with need each other", hint="for example: --img2img 0.2 --with runs/me")
    if img2img is None:
        run_operation(folder, Upscale.parse(values, source="dataset upscale"), options)
        return
    from bakehouse.synthesis.repair import RepairedUpscale

    values |= {"img2img": img2img, "repair_with": with_, "seed": seed}
    with RepairedUpscale.parse(values, source="dataset upscale") as operation:
        run_operation(folder, operation, options)
