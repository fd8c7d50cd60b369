from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.weights.options import BaseModel, By, ConvBy, ConvRank, DryRun, Dtype, Out, Overwrite, Rank

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE[=STRENGTH]...", help="Adapter files with strengths; FILE=0.8,0.5 sets UNet and text encoder."
    ),
]
Method = Annotated[str, typer.Option(help="Method to merge adapters without --base: concat (exact), svd or linear.")]


def merge(
    files: Files, out: Out, base: BaseModel = None, method: Method = "concat",
    rank: Rank = None, by: By = None, conv_rank: ConvRank = None, conv_by: ConvBy = None, dtype: Dtype = None,
    dry_run: DryRun = False, overwrite: Overwrite = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Merge adapters with each other, or into a base model."""
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.cli.render.weights import parse_strength, print_result
    from bakehouse.weights.convert_base import merge_all

    adapters = [parse_strength(text) for text in files]
    rules = {"method": method, "rank": rank, "by": by, "conv_rank": conv_rank, "conv_by": conv_by}
    with progress_renderer(quiet=quiet or json) as on_event:
        result = merge_all(
            adapters, out, base=base, rules=rules, dtype=dtype, dry_run=dry_run, overwrite=overwrite, on_event=on_event
        )
    print_result(result, json=json)
