from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json

PathArgument = Annotated[str, typer.Argument(metavar="PATH", help="Weights file, model folder or run folder.")]
Keys = Annotated[bool, typer.Option("--keys", help="List every tensor and the programs that ignore it.")]
Metadata = Annotated[bool, typer.Option("--metadata", help="Print the metadata.")]


def info(path: PathArgument, keys: Keys = False, metadata: Metadata = False, json: Json = False) -> None:
    """Show algorithm, base model, ranks and trigger words of a file.

    Also lists the programs that can load it.
    """
    from bakehouse.cli.render.consoles import print_json, spinner
    from bakehouse.cli.render.weights import print_info
    from bakehouse.weights.inspect_weights import inspect

    with spinner(f"reading {path}", quiet=True):
        found = inspect(path)
    if json:
        print_json(found.to_json(keys=keys))
    else:
        print_info(found, keys=keys, metadata=metadata)
