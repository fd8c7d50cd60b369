from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.weights_options import (
    BaseModel,
    By,
    Clamp,
    ConvBy,
    ConvRank,
    DryRun,
    Dtype,
    File,
    Out,
    Overwrite,
    Rank,
)


def resize(
    source: File, out: Out, rank: Rank = None, by: By = None, conv_rank: ConvRank = None, conv_by: ConvBy = None,
    to_lora: Annotated[bool, typer.Option("--to-lora", help="Make a LoRA of LoHa, LoKr, ...; needs --base.")] = False,
    base: BaseModel = None, clamp_quantile: Clamp = 1.0, dtype: Dtype = None,
    dry_run: DryRun = False, overwrite: Overwrite = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Give a LoRA other ranks, with the least error there can be; alpha / rank stays."""
    from bakehouse.cli.render.events import painting
    from bakehouse.cli.render.weights import print_result
    from bakehouse.weights.convert_base import base_path
    from bakehouse.weights.rank_selection import parse_rank_rules
    from bakehouse.weights.resize import Resize
    from bakehouse.weights.resize import resize as give

    linear, conv = parse_rank_rules(rank, by, conv_rank, conv_by)
    values = {"linear": linear, "conv": conv, "to_lora": to_lora, "clamp_quantile": clamp_quantile, "dtype": dtype}
    settings, on = Resize.parse(values, source="resize"), base_path(base) if base else None
    with painting(quiet=quiet or json) as on_event:
        done = give(source, out, settings, base=on, dry_run=dry_run, overwrite=overwrite, on_event=on_event)
    print_result(done, json=json)
