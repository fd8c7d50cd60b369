"""`bakehouse dataset VERB`: each verb is a file here (`square.py` shows the form), and two lines below."""

from __future__ import annotations

import typer

from bakehouse.cli.dataset.audit import audit
from bakehouse.cli.dataset.bucket import bucket
from bakehouse.cli.dataset.clean import clean
from bakehouse.cli.dataset.convert import convert
from bakehouse.cli.dataset.crop import crop
from bakehouse.cli.dataset.dedupe import dedupe
from bakehouse.cli.dataset.drop import drop
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

dataset = typer.Typer(
    help="Make a set that teaches out of a heap of images. Every step can be taken back.", no_args_is_help=True
)

# The verbs, in the order in which a set is made.
dataset.command("audit")(audit)
dataset.command("tidy")(tidy)
dataset.command("drop")(drop)
dataset.command("import")(import_)
dataset.command("convert")(convert)
dataset.command("flatten")(flatten)
dataset.command("square")(square)
for verb in (dedupe, trim, clean, crop, upscale, mask, bucket, sort, repeats):
    dataset.command(verb.__name__)(verb)
dataset.command("undo")(undo)
dataset.command("history")(history)
