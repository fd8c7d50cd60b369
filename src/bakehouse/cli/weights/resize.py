from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.weights import options as opt

ToLora = Annotated[bool, typer.Option("--to-lora", help="Convert LoHa, LoKr and other kinds to a LoRA; needs --base.")]


def resize(
    source: opt.File, out: opt.Out, rank: opt.Rank = None, by: opt.By = None,
    conv_rank: opt.ConvRank = None, conv_by: opt.ConvBy = None, to_lora: ToLora = False, base: opt.BaseModel = None,
    clamp_quantile: opt.Clamp = 1.0, dtype: opt.Dtype = None,
    dry_run: opt.DryRun = False, overwrite: opt.Overwrite = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Change the rank of a LoRA with the least error. The ratio alpha / rank stays."""
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.cli.render.weights import print_result
    from bakehouse.weights.convert_base import base_path
    from bakehouse.weights.rank_selection import parse_rank_rules
    from bakehouse.weights.resize import Resize
    from bakehouse.weights.resize import resize as resize_adapter

    linear, conv = parse_rank_rules(rank, by, conv_rank, conv_by)
    values = {"linear": linear, "conv": conv, "to_lora": to_lora, "clamp_quantile": clamp_quantile, "dtype": dtype}
    settings, on = Resize.parse(values, source="resize"), base_path(base) if base else None
    with progress_renderer(quiet=quiet or json) as on_event:
        result = resize_adapter(source, out, settings, base=on, dry_run=dry_run, overwrite=overwrite, on_event=on_event)
    print_result(result, json=json)
