from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

Model = Annotated[str, typer.Option(metavar="NAME|FILE", help="The mask maker: u2netp, isnet-small, an ONNX file, ...")]
Second = Annotated[
    str, typer.Option(metavar="NAME|FILE|auto|none", help="Another one, whose mask must agree with the first one's.")
]
Size = Annotated[int | None, typer.Option(metavar="PIXELS", help="The square that an ONNX file of yours sees.")]
Normalize = Annotated[
    Literal["auto", "imagenet", "half", "unit"], typer.Option(help="Colours as an ONNX file of yours wants them.")
]
Color = Annotated[
    str, typer.Option(metavar="COLOR|border", help="Instead of a network: the colour that is behind the subject.")
]
Tolerance = Annotated[float, typer.Option(metavar="SHARE", help="How far from that colour; 1 is black to white.")]
Replace = Annotated[bool, typer.Option("--replace", help="Also images that have a mask already.")]


@spread
def mask(
    folder: Folder, *, model: Model = "u2netp", second: Second = "auto", size: Size = None,
    normalize: Normalize = "auto", color: Color = "", tolerance: Tolerance = 0.08, replace: Replace = False, way: Way,
) -> None:  # fmt: skip
    """Make training masks of the subject; one that cannot be trusted is named and not written."""
    from bakehouse.cli.dataset.run_operation import run_verb
    from bakehouse.curation.masks import Mask

    values: dict[str, object] = {"model": model, "second": second, "size": size, "normalize": normalize}
    values |= {"color": color, "tolerance": tolerance, "replace": replace}
    run_verb(folder, Mask.parse(values, source="dataset mask"), way)
