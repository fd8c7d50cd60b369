from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.render.printing import say


def info(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A weights file, a model's folder or a run folder.")],
    keys: Annotated[bool, typer.Option("--keys", help="Every tensor, and who passes over it.")] = False,
    metadata: Annotated[bool, typer.Option("--metadata", help="The whole header.")] = False,
    json: Json = False,
) -> None:
    """Say what a file is: algorithm, base, ranks, strength, words, and who can load it."""
    from bakehouse.cli.render.consoles import busy, print_json
    from bakehouse.cli.render.weights import print_info
    from bakehouse.weights.inspect_weights import inspect

    with busy(f"reading {path}", quiet=True):
        found = inspect(path)
    if json:
        print_json(found.to_json(keys=keys))
    else:
        print_info(found, keys=keys, metadata=metadata)


def hashes(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Weights files.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say the hashes by which programs and sites know a file: AutoV1, AutoV2, AutoV3, sshs, sha256."""
    from bakehouse.cli.render.consoles import print_json
    from bakehouse.cli.render.events import painting
    from bakehouse.weights.file_hashes import hash_file

    with painting(quiet=quiet or json) as on_event:
        found = {str(path): hash_file(path, on_event=on_event).to_json() for path in files}
    if json:
        print_json(found)
        return
    for name, values in found.items():
        say(name)
        for kind, value in values.items():
            say(f"  {kind:16} {value or '-'}")
