"""`bakehouse dataset`: one file for each command (`square.py` is a short example), registered in order of use."""

from __future__ import annotations

import typer

from bakehouse.cli.dataset.audit import audit
from bakehouse.cli.dataset.bucket import bucket
from bakehouse.cli.dataset.clean import clean
from bakehouse.cli.dataset.collage import collage
from bakehouse.cli.dataset.convert import convert
from bakehouse.cli.dataset.crop import crop
from bakehouse.cli.dataset.dedupe import dedupe
from bakehouse.cli.dataset.drop import drop
from bakehouse.cli.dataset.extend import extend
from bakehouse.cli.dataset.flatten import flatten
from bakehouse.cli.dataset.history import history, undo
from bakehouse.cli.dataset.import_ import import_
from bakehouse.cli.dataset.mask import mask
from bakehouse.cli.dataset.repeats import repeats
from bakehouse.cli.dataset.sort import sort
from bakehouse.cli.dataset.square import square
from bakehouse.cli.dataset.tidy import tidy
from bakehouse.cli.dataset.trim import trim
from bakehouse.cli.dataset.upscale import upscale

dataset = typer.Typer(help="Prepare a folder of images. Every change can be undone.", no_args_is_help=True)

dataset.command("import")(import_)
for command in (audit, tidy, drop, dedupe, convert, flatten, trim, clean, crop, upscale, mask):
    dataset.command(command.__name__)(command)
for command in (collage, extend, square, bucket, sort, repeats, history, undo):
    dataset.command(command.__name__)(command)
