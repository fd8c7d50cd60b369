from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

Color = Annotated[str, typer.Option(metavar="COLOR", help="What shows where the image does not: white, #ff8800.")]
ToMask = Annotated[bool, typer.Option("--to-mask", help="Make the alpha a mask, so that the colour is not learned.")]


@spread
def flatten(folder: Folder, *, color: Color = "white", to_mask: ToMask = False, way: Way) -> None:
    """Lay transparent images on a colour, or turn their alpha into training masks."""
    from bakehouse.cli.dataset.run_operation import run_verb
    from bakehouse.curation.flatten import Flatten

    run_verb(folder, Flatten.parse({"color": color, "to_mask": to_mask}, source="dataset flatten"), way)
