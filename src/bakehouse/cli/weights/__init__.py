"""`bakehouse weights`: inspect and change weights files."""

from __future__ import annotations

import typer

from bakehouse.cli.weights.convert import convert
from bakehouse.cli.weights.edit import edit
from bakehouse.cli.weights.extract import extract
from bakehouse.cli.weights.hash import hash_files
from bakehouse.cli.weights.info import info
from bakehouse.cli.weights.merge import merge
from bakehouse.cli.weights.rescale import rescale
from bakehouse.cli.weights.resize import resize
from bakehouse.cli.weights.slice import slice_ranks

weights = typer.Typer(help="Inspect, convert, merge and resize weights files.", no_args_is_help=True)

for command in (info, convert, merge, extract, resize, rescale):
    weights.command(command.__name__)(command)
weights.command("slice")(slice_ranks)
weights.command("edit")(edit)
weights.command("hash")(hash_files)
