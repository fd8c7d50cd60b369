from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Model = Annotated[
    str,
    typer.Option(metavar="NAME|FILE", help="Segmentation model: u2netp, isnet-small, another name or an ONNX file."),
]
Second = Annotated[
    str, typer.Option(metavar="NAME|FILE|auto|none", help="Second model, whose mask must agree with the first.")
]
Size = Annotated[
    int | None, typer.Option(metavar="PIXELS", help="Input size of an ONNX file. Default: read from the file.")
]
Normalize = Annotated[
    Literal["auto", "imagenet", "half", "unit"], typer.Option(help="Input normalization of an ONNX file.")
]
Color = Annotated[
    str, typer.Option(metavar="COLOR|border", help="Background colour to mask, instead of using a model.")
]
Tolerance = Annotated[
    float, typer.Option(metavar="SHARE", help="Maximum distance from that colour; 1 is black to white.")
]
Replace = Annotated[bool, typer.Option("--replace", help="Replace existing masks.")]


@expand_option_groups
def mask(
    folder: Folder, *, model: Model = "u2netp", second: Second = "auto", size: Size = None,
    normalize: Normalize = "auto", color: Color = "", tolerance: Tolerance = 0.08, replace: Replace = False,
    options: RunOptions,
) -> None:  # fmt: skip
    """Make training masks of the subject. Unreliable masks are not written."""
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.curation.masks import Mask

    values: dict[str, object] = {"model": model, "second": second, "size": size, "normalize": normalize}
    values |= {"color": color, "tolerance": tolerance, "replace": replace}
    run_operation(folder, Mask.parse(values, source="dataset mask"), options)
