"""Entry point of `bakehouse COMMAND`: errors become one message and an exit code."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from bakehouse.cli.commands import app
from bakehouse.cli.render.errors import check_arguments, report_error
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.quick_imports import collect_garbage_rarely


def _version(wanted: bool) -> None:
    if wanted:
        from bakehouse import __version__

        echo(f"bakehouse {__version__}")
        raise typer.Exit


@app.callback()
def bakehouse(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks on errors; also with BAKEHOUSE_DEBUG=1.")
    ] = False,
) -> None:
    """Train Stable Diffusion on a subject from a folder of images.

    A first run: bakehouse plan FOLDER --subject "zwx person" -o me.toml, then bakehouse train me.toml.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 success, 1 failed, 2 wrong usage, 130 interrupted."""
    collect_garbage_rarely()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold bytes that are no valid text
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or os.environ.get("BAKEHOUSE_DEBUG", "") not in ("", "0")
    try:
        check_arguments(words)
        app(args=[w for w in words if w != "--debug"], prog_name="bakehouse")
    # Every exception: here a traceback becomes a message.
    except Exception as e:
        if debug:
            raise
        sys.exit(report_error(e))
