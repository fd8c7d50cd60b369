from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet


def templates(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME|FILE", help="Set or file whose prompts are listed. Default: all sets.")
    ] = None,
    *,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List prompt templates, for `bakehouse generate --templates`."""
    from bakehouse.cli.render.templates import print_library, print_set
    from bakehouse.generation.templates import find_templates, library

    if name is None:
        print_library(library(), json=json, quiet=quiet)
    else:
        print_set(find_templates(name), json=json, quiet=quiet)
