from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.weights.options import DryRun, Dtype, Out, Overwrite

Source = Annotated[str, typer.Argument(metavar="FILE|MODEL", help="Adapter file, embedding or base model.")]
Form = Annotated[
    str, typer.Option("--to", metavar="FORMAT", help="Adapter format: kohya, diffusers, diffusers-old or peft.")
]
Alpha = Annotated[str, typer.Option(help="Write alpha to the file (keep), or multiply it into the weights (`bake`).")]
UNetNames = Annotated[str, typer.Option(help="UNet key names of the kohya format: auto, blocks or diffusers.")]
Drop = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Tensors to leave out, e.g. bundle_emb.* or a full name. Repeatable."),
]


def convert(
    source: Source,
    out: Out,
    to: Form = "kohya",
    alpha: Alpha = "keep",
    unet_names: UNetNames = "auto",
    dtype: Dtype = None,
    drop: Drop = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert an adapter, embedding or base model to another format.

    For a base model the name of --out selects the format: a folder (diffusers), .safetensors or .ckpt. For an
    embedding, .safetensors or .pt; --to is kohya (A1111, ComfyUI) or diffusers.
    """
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.cli.render.weights import print_result
    from bakehouse.weights.convert_adapter import Convert
    from bakehouse.weights.convert_adapter import convert as convert_adapter
    from bakehouse.weights.convert_base import convert_base, is_base
    from bakehouse.weights.convert_embedding import convert_embedding, embedding_at

    if (found := embedding_at(source)) is not None:
        word = convert_embedding(*found, out, to=to, dtype=dtype, dry_run=dry_run, overwrite=overwrite)
        print_result(word, json=json)
        return
    with progress_renderer(quiet=quiet or json) as on_event:
        if is_base(source):
            base = convert_base(source, out, dtype=dtype, dry_run=dry_run, overwrite=overwrite, on_event=on_event)
            print_result(base, json=json)
            return
        names = {"to": to, "alpha": alpha, "unet_names": unet_names, "dtype": dtype, "drop": drop or ()}
        settings = Convert.parse(names, source="convert")
        result = convert_adapter(source, out, settings, dry_run=dry_run, overwrite=overwrite, on_event=on_event)
    print_result(result, json=json)
