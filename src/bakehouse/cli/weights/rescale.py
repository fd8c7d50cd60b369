from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json
from bakehouse.cli.weights.options import DryRun, File, Out, Overwrite

Weight = Annotated[float | None, typer.Option(help="Strength that you use today.")]
Becomes = Annotated[
    float | None, typer.Option(help="Strength that should give the same result afterwards; needs --weight.")
]
Factor = Annotated[float, typer.Option(help="Multiply the strength by this.")]
UNet = Annotated[float, typer.Option(help="Multiply the strength on the UNet by this.")]
Text = Annotated[float, typer.Option(help="Multiply the strength on the text encoders by this.")]
Block = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=X", help="Multiply the strength of blocks, e.g. IN04=0.5 or unet.mid_block.*=0. Repeatable."
    ),
]


def rescale(
    source: File, out: Out, weight: Weight = None, becomes: Becomes = None,
    factor: Factor = 1.0, unet: UNet = 1.0, text: Text = 1.0, block: Block = None,
    dry_run: DryRun = False, overwrite: Overwrite = False, json: Json = False,
) -> None:  # fmt: skip
    """Change an adapter's strength permanently.

    Example: with --weight 0.5 --becomes 1, strength 1 does afterwards what 0.5 does today.
    """
    from bakehouse.cli.render.weights import print_result
    from bakehouse.weights.rescale import rescale as rescale_adapter
    from bakehouse.weights.rescale import rescale_of

    settings = rescale_of(weight, becomes, factor=factor, unet=unet, text=text, blocks=block or ())
    print_result(rescale_adapter(source, out, settings, dry_run=dry_run, overwrite=overwrite), json=json)
