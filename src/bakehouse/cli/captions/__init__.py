"""`bakehouse captions VERB`: what captions say, before and beside training."""

from __future__ import annotations

import typer

from bakehouse.cli.captions.compile import compile_
from bakehouse.cli.captions.edit import edit
from bakehouse.cli.captions.rules import rules
from bakehouse.cli.captions.stats import stats
from bakehouse.cli.captions.tag import tag

captions = typer.Typer(help="Write, edit and compile captions. Every step can be taken back.", no_args_is_help=True)
for command in (tag, edit, stats, rules):
    captions.command(command.__name__)(command)
captions.command("compile")(compile_)
