"""`bakehouse captions VERB`: what captions say, before and beside training."""

from __future__ import annotations

import typer

from bakehouse.cli.captions.compile import compile_

captions = typer.Typer(help="Write, edit and compile captions. Every step can be taken back.", no_args_is_help=True)
captions.command("compile")(compile_)
