from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.render.safe_printing import echo

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Weights files.")]


def hash_files(files: Files, json: Json = False, quiet: Quiet = False) -> None:
    """Print hashes of files: AutoV1, AutoV2, AutoV3, sshs, sha256."""
    from bakehouse.cli.render.consoles import print_json
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.weights.file_hashes import hash_file

    with progress_renderer(quiet=quiet or json) as on_event:
        hashes = {str(path): hash_file(path, on_event=on_event).to_json() for path in files}
    if json:
        print_json(hashes)
        return
    for name, values in hashes.items():
        echo(name)
        for kind, value in values.items():
            echo(f"  {kind:16} {value or '-'}")
