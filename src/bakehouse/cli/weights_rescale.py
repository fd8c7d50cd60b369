from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json
from bakehouse.cli.weights_options import DryRun, File, Out, Overwrite

_Factor = Annotated[float, typer.Option(help="Times this.")]


def rescale(
    source: File, out: Out,
    weight: Annotated[float | None, typer.Option(help="The weight that is right now, ...")] = None,
    becomes: Annotated[float | None, typer.Option(help="... and the one that shall be right.")] = None,
    factor: _Factor = 1.0, unet: _Factor = 1.0, text: _Factor = 1.0,
    block: Annotated[list[str] | None, typer.Option(metavar="NAME=X", help="IN04=0.5, unet.mid_block.*=0.")] = None,
    dry_run: DryRun = False, overwrite: Overwrite = False, json: Json = False,
) -> None:  # fmt: skip
    """Make an adapter stronger or weaker for good: --weight 0.5 --becomes 1.1."""
    from bakehouse.cli.render.weights import print_result
    from bakehouse.weights.rescale import rescale as scale
    from bakehouse.weights.rescale import rescale_of

    settings = rescale_of(weight, becomes, factor=factor, unet=unet, text=text, blocks=block or ())
    print_result(scale(source, out, settings, dry_run=dry_run, overwrite=overwrite), json=json)


def slice_ranks(
    source: File, out: Out,
    rank: Annotated[list[int] | None, typer.Option(help="May come again. Left out: every one.")] = None,
    unit: Annotated[int | None, typer.Option(help="Step between ranks. Left out: as the file says.")] = None,
    dry_run: DryRun = False, overwrite: Overwrite = False, json: Json = False,
) -> None:  # fmt: skip
    """Cut LoRAs out of a DyLoRA: one rank into --out, several beside it."""
    from bakehouse.cli.render.weights import print_results
    from bakehouse.weights.dylora_slices import slice_ranks as cut

    print_results(cut(source, out, rank or (), unit=unit, dry_run=dry_run, overwrite=overwrite), json=json)
