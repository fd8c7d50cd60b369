from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.weights_options import By, Clamp, ConvBy, ConvRank, DryRun, Kept, Out, Overwrite, Rank

Method = Annotated[str, typer.Option(help="auto: randomised where that is as good; full: always in full.")]


def extract(
    tuned: Annotated[str, typer.Argument(metavar="MODEL", help="The fine-tuned model.")],
    base: Annotated[str, typer.Option("--base", metavar="MODEL", help="What it was made of.")],
    out: Out, rank: Rank = None, by: By = None, conv_rank: ConvRank = None, conv_by: ConvBy = None,
    text: Annotated[bool, typer.Option(help="Text encoders too.")] = True,
    min_diff: Annotated[float, typer.Option("--min-diff", help="Leave out networks that differ less anywhere.")] = 0.0,
    clamp_quantile: Clamp = 1.0, dtype: Kept = "fp16", method: Method = "auto",
    dry_run: DryRun = False, overwrite: Overwrite = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Make a LoRA of what a fine-tuned model has learned."""
    from bakehouse.cli.render.events import painting
    from bakehouse.cli.render.weights import print_result
    from bakehouse.weights.convert_base import base_path
    from bakehouse.weights.extract_lora import Extract
    from bakehouse.weights.extract_lora import extract as take
    from bakehouse.weights.rank_selection import parse_rank_rules

    linear, conv = parse_rank_rules(rank or (None if by else 32), by, conv_rank, conv_by)
    rest = {"text": text, "min_diff": min_diff, "clamp_quantile": clamp_quantile, "dtype": dtype, "method": method}
    settings = Extract.parse({"linear": linear, "conv": conv, **rest}, source="extract")
    with painting(quiet=quiet or json) as on_event:
        done = take(
            base_path(tuned), base_path(base), out, settings, dry_run=dry_run, overwrite=overwrite, on_event=on_event
        )
    print_result(done, json=json)
