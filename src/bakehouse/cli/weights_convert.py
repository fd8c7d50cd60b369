from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.weights_options import DryRun, Dtype, Out, Overwrite

Form = Annotated[str, typer.Option("--to", metavar="FORM", help="kohya, diffusers, diffusers-old or peft.")]


def convert(
    source: Annotated[str, typer.Argument(metavar="FILE|MODEL", help="An adapter file, or a base model.")],
    out: Out,
    to: Form = "kohya",
    alpha: Annotated[str, typer.Option(help="keep it, or bake it into the weights.")] = "keep",
    unet_names: Annotated[str, typer.Option(help="kohya's UNet names: auto, blocks or diffusers.")] = "auto",
    dtype: Dtype = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Leave tensors out: bundle_emb.*")] = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write an adapter in another program's words, or a base model in another layout: what --out's name says."""
    from bakehouse.cli.render.events import painting
    from bakehouse.cli.render.weights import print_result
    from bakehouse.weights.convert_adapter import Convert
    from bakehouse.weights.convert_adapter import convert as convert_adapter
    from bakehouse.weights.convert_base import convert_base, is_base

    with painting(quiet=quiet or json) as on_event:
        if is_base(source):
            base = convert_base(source, out, dtype=dtype, dry_run=dry_run, overwrite=overwrite, on_event=on_event)
            print_result(base, json=json)
            return
        names = {"to": to, "alpha": alpha, "unet_names": unet_names, "dtype": dtype, "drop": drop or ()}
        settings = Convert.parse(names, source="convert")
        result = convert_adapter(source, out, settings, dry_run=dry_run, overwrite=overwrite, on_event=on_event)
    print_result(result, json=json)
