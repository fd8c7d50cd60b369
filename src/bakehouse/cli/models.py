from __future__ import annotations

import typer

from bakehouse.cli.options import Json

models = typer.Typer(help="Base models that are on this machine.", no_args_is_help=True)


@models.callback()
def _models() -> None:
    """Base models that are on this machine."""


@models.command("list")
def list_models(json: Json = False) -> None:
    """List what is part of the package and what lies in the Hub's cache."""
    from rich.table import Table

    from bakehouse.cli.shelf import shelf
    from bakehouse.cli.terminal.screen import print_json, print_table
    from bakehouse.cli.terminal.units import size

    rows = shelf()
    if json:
        print_json(rows)
        return
    table = Table("name", "what", "size", "licence", "sha256 or revision", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row["name"], row["what"], size(row["bytes"]), row["licence"], row["version"][:12])
    print_table(table)
