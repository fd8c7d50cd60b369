from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json
from bakehouse.cli.weights.options import DryRun, File, Out, Overwrite

Ranks = Annotated[list[int] | None, typer.Option("--rank", help="Rank to extract. Repeatable. Default: every rank.")]
Unit = Annotated[int | None, typer.Option(help="Step between ranks. Default: as stored in the file.")]


def slice_ranks(
    source: File, out: Out, rank: Ranks = None, unit: Unit = None,
    dry_run: DryRun = False, overwrite: Overwrite = False, json: Json = False,
) -> None:  # fmt: skip
    """Extract LoRAs of fixed rank from a DyLoRA.

    One rank is written to --out, several to files beside it.
    """
    from bakehouse.cli.render.weights import print_results
    from bakehouse.weights.dylora_slices import slice_ranks as slice_adapter

    print_results(slice_adapter(source, out, rank or (), unit=unit, dry_run=dry_run, overwrite=overwrite), json=json)
