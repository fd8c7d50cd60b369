from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Resolution = Annotated[int, typer.Option(metavar="PIXELS", help="Training resolution: 512 for SD 1.x, 1024 for SDXL.")]
Rule = Annotated[
    Literal["log", "kohya"],
    typer.Option(help="Bucket rule: log treats portrait and landscape alike; kohya as kohya does."),
]
Step = Annotated[int, typer.Option(metavar="PIXELS", help="Step between bucket sizes.")]
Least = Annotated[
    int | None, typer.Option("--min", metavar="PIXELS", help="Shortest side. Default: half the resolution.")
]
Most = Annotated[
    int | None, typer.Option("--max", metavar="PIXELS", help="Longest side. Default: twice the resolution.")
]
Upscale = Annotated[bool, typer.Option(help="Enlarge small images, as training does by default.")]
Batch = Annotated[int, typer.Option(metavar="N", help="Batch size: a bucket with fewer images gives a warning.")]
Sorted = Annotated[bool, typer.Option("--sort", help="Move images into a folder for each bucket, e.g. 384x640.")]


@expand_option_groups
def bucket(
    folder: Folder, *, resolution: Resolution = 512, rule: Rule = "log", step: Step = 64, least: Least = None,
    most: Most = None, upscale: Upscale = True, batch: Batch = 1, sort: Sorted = False, options: RunOptions,
) -> None:  # fmt: skip
    """Print the bucket of each image, its scale and crop loss."""
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.cli.render.buckets import print_buckets
    from bakehouse.curation.bucket import Bucket

    shapes = {"resolution": resolution, "rule": rule, "step": step, "min": least, "max": most, "upscale": upscale}
    given = {key: value for key, value in shapes.items() if value is not None}
    operation = Bucket.parse({"buckets": given, "batch": batch}, source="dataset bucket")
    if sort and options.preview is None:
        run_operation(folder, operation, options)
    else:
        print_buckets(folder, operation, options)
