from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.weights_options import BaseModel, By, ConvBy, ConvRank, DryRun, Dtype, Out, Overwrite, Rank


def merge(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE[=WEIGHT]...", help="UNet and text encoder apart: FILE=0.8,0.5.")
    ],
    out: Out,
    base: BaseModel = None,
    method: Annotated[str, typer.Option(help="Without --base: concat (exact), svd or linear.")] = "concat",
    rank: Rank = None,
    by: By = None,
    conv_rank: ConvRank = None,
    conv_by: ConvBy = None,
    dtype: Dtype = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Merge adapters into a base model, or with each other."""
    from bakehouse.cli.render.events import painting
    from bakehouse.cli.render.weights import print_result, read_weighted
    from bakehouse.weights.convert_base import merge_all

    adapters = [read_weighted(text) for text in files]
    rules = {"method": method, "rank": rank, "by": by, "conv_rank": conv_rank, "conv_by": conv_by}
    with painting(quiet=quiet or json) as on_event:
        result = merge_all(
            adapters, out, base=base, rules=rules, dtype=dtype, dry_run=dry_run, overwrite=overwrite, on_event=on_event
        )
    print_result(result, json=json)
