from __future__ import annotations

import typer

from bakehouse.cli.weights_convert import convert
from bakehouse.cli.weights_edit import edit
from bakehouse.cli.weights_extract import extract
from bakehouse.cli.weights_info import hashes, info
from bakehouse.cli.weights_merge import merge
from bakehouse.cli.weights_rescale import rescale, slice_ranks
from bakehouse.cli.weights_resize import resize

weights = typer.Typer(help="Look into weights files, and make others of them.", no_args_is_help=True)

for command in (info, convert, merge, extract, resize, rescale, edit):
    weights.command(command.__name__)(command)
weights.command("slice")(slice_ranks)
weights.command("hash")(hashes)
