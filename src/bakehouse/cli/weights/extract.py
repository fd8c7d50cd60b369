from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.weights.options import By, Clamp, ConvBy, ConvRank, DryRun, Out, Overwrite, Rank, RequiredDtype

Tuned = Annotated[str, typer.Argument(metavar="MODEL", help="Fine-tuned model.")]
TunedFrom = Annotated[str, typer.Option("--base", metavar="MODEL", help="Model that it was fine-tuned from.")]
Text = Annotated[bool, typer.Option(help="Extract the text encoders too.")]
MinDiff = Annotated[
    float, typer.Option("--min-diff", help="Skip a network if none of its weights differs by more than this.")
]
Method = Annotated[str, typer.Option(help="SVD: auto (randomised when accurate enough) or full.")]


def extract(
    tuned: Tuned, base: TunedFrom, out: Out,
    rank: Rank = None, by: By = None, conv_rank: ConvRank = None, conv_by: ConvBy = None,
    text: Text = True, min_diff: MinDiff = 0.0, clamp_quantile: Clamp = 1.0, dtype: RequiredDtype = "fp16",
    method: Method = "auto", dry_run: DryRun = False, overwrite: Overwrite = False,
    json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Extract a LoRA from a fine-tuned model and its base. Default rank: 32."""
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.cli.render.weights import print_result
    from bakehouse.weights.convert_base import base_path
    from bakehouse.weights.extract_lora import Extract
    from bakehouse.weights.extract_lora import extract as extract_lora
    from bakehouse.weights.rank_selection import parse_rank_rules

    linear, conv = parse_rank_rules(rank or (None if by else 32), by, conv_rank, conv_by)
    rest = {"text": text, "min_diff": min_diff, "clamp_quantile": clamp_quantile, "dtype": dtype, "method": method}
    settings = Extract.parse({"linear": linear, "conv": conv, **rest}, source="extract")
    models = base_path(tuned), base_path(base)
    with progress_renderer(quiet=quiet or json) as on_event:
        result = extract_lora(*models, out, settings, dry_run=dry_run, overwrite=overwrite, on_event=on_event)
    print_result(result, json=json)
