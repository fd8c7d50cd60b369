"""`bakehouse captions`: write, edit and measure captions."""

from __future__ import annotations

import typer

from bakehouse.cli.captions.compile import compile_
from bakehouse.cli.captions.edit import edit
from bakehouse.cli.captions.rules import rules
from bakehouse.cli.captions.stats import stats
from bakehouse.cli.captions.tag import tag

captions = typer.Typer(help="Write and edit captions. Every change can be undone.", no_args_is_help=True)
for command in (tag, stats, edit):
    captions.command(command.__name__)(command)
captions.command("compile")(compile_)
captions.command("rules")(rules)
