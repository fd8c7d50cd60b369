"""`bakehouse triggers`: check trigger words."""

from __future__ import annotations

import typer

from bakehouse.cli.triggers.explain import explain
from bakehouse.cli.triggers.probe import probe

triggers = typer.Typer(help="Check trigger words before training.", no_args_is_help=True)
triggers.command("probe")(probe)
triggers.command("explain")(explain)
