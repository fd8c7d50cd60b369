from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

Resolution = Annotated[int, typer.Option(metavar="PIXELS", help="Of training: 512 for SD 1.x, 1024 for SDXL.")]
Rule = Annotated[Literal["log", "kohya"], typer.Option(help="log treats portrait as landscape; kohya as it does.")]
Step = Annotated[int, typer.Option(metavar="PIXELS", help="Sides are multiples of this.")]
Least = Annotated[int | None, typer.Option("--min", metavar="PIXELS", help="Shortest side; else half the resolution.")]
Most = Annotated[int | None, typer.Option("--max", metavar="PIXELS", help="Longest side; else twice the resolution.")]
Upscale = Annotated[bool, typer.Option(help="Enlarge small images, as training does unless told otherwise.")]
Batch = Annotated[int, typer.Option(metavar="N", help="Images a step: buckets with fewer are warned of.")]
Sorted = Annotated[bool, typer.Option("--sort", help="Move images into folders by bucket: 384x640/ and so on.")]


@spread
def bucket(
    folder: Folder, *, resolution: Resolution = 512, rule: Rule = "log", step: Step = 64, least: Least = None,
    most: Most = None, upscale: Upscale = True, batch: Batch = 1, sort: Sorted = False, way: Way,
) -> None:  # fmt: skip
    """Say which bucket each image goes to, how it is scaled and what the crop loses."""
    from bakehouse.cli.dataset.run_operation import run_verb
    from bakehouse.cli.render.buckets import show_buckets
    from bakehouse.curation.buckets import Bucket

    shapes = {"resolution": resolution, "rule": rule, "step": step, "min": least, "max": most, "upscale": upscale}
    given = {key: value for key, value in shapes.items() if value is not None}
    verb = Bucket.parse({"buckets": given, "batch": batch}, source="dataset bucket")
    if sort and way.preview is None:
        run_verb(folder, verb, way)
    else:
        show_buckets(folder, verb, way)
