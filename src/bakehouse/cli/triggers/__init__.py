"""`bakehouse triggers VERB`: the words that prompts will say."""

from __future__ import annotations

import typer

from bakehouse.cli.triggers.explain import explain
from bakehouse.cli.triggers.probe import probe

triggers = typer.Typer(help="Look at trigger words before they are trained.", no_args_is_help=True)
triggers.command("explain")(explain)
triggers.command("probe")(probe)
