"""The door: `bakehouse COMMAND`. Turns what went wrong into one clear message and the right exit code."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from bakehouse.cli.commands import app
from bakehouse.cli.render.errors import check, report
from bakehouse.cli.render.printing import say


def _version(wanted: bool) -> None:
    if wanted:
        from bakehouse import __version__

        say(f"bakehouse {__version__}")
        raise typer.Exit


@app.callback()
def bakehouse(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; also BAKEHOUSE_DEBUG=1.")] = False,
) -> None:
    """Teach Stable Diffusion a subject from a folder of images."""


def main(arguments: list[str] | None = None) -> None:
    """Runs one command and exits: 0 done, 1 the work failed, 2 the words were wrong, 130 stopped by hand."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text that can be shown
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or os.environ.get("BAKEHOUSE_DEBUG", "") not in ("", "0")
    try:
        check(words)
        app(args=[w for w in words if w != "--debug"], prog_name="bakehouse")
    # As wide as can be: this is the last door, and nobody behind it would turn a traceback into a message.
    except Exception as e:
        if debug:
            raise
        sys.exit(report(e))
