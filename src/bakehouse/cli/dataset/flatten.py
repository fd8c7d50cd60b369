from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Color = Annotated[
    str, typer.Option(metavar="COLOR", help="Background colour for transparent pixels, e.g. white or #ff8800.")
]
ToMask = Annotated[
    bool, typer.Option("--to-mask", help="Also write alpha as a training mask, so the background is not learned.")
]


@expand_option_groups
def flatten(folder: Folder, *, color: Color = "white", to_mask: ToMask = False, options: RunOptions) -> None:
    """Replace transparency with a colour, or make it a training mask."""
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.curation.flatten import Flatten

    run_operation(folder, Flatten.parse({"color": color, "to_mask": to_mask}, source="dataset flatten"), options)
