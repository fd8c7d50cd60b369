"""The two consoles: results on standard output, progress and warnings on standard error."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.message_text import visible

_LOG_WIDTH = 160
"""Width of tables in files and pipes, in characters."""
_SHORT_SECONDS = 2.0


class _SafeConsole(Console):
    """A console on which text cannot control the terminal: see `visible`."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)


def stdout_console() -> Console:
    """Return the console for results. rich itself honours NO_COLOR."""
    return _console(sys.stdout.isatty())


def stderr_console() -> Console:
    """Return the console for progress and warnings."""
    return _console(sys.stderr.isatty(), stderr=True)


def _console(terminal: bool, *, stderr: bool = False) -> Console:
    """Return a console without markup: file names, captions and settings may hold `[brackets]` and `:words:`."""
    width = None if terminal else _LOG_WIDTH
    return _SafeConsole(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


def print_table(table: Table) -> None:
    """Print a table on standard output; in a file without trailing spaces."""
    console = stdout_console()
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as drawn:
        console.print(table)
    echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def print_warnings(warnings: Iterable[str]) -> None:
    """Print one line for each warning on standard error."""
    console = stderr_console()
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)


@contextlib.contextmanager
def spinner(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Show a spinner in a terminal during a short task; in a log print one line if it takes longer."""
    console = stderr_console()
    if quiet:
        yield
    elif console.is_terminal:
        with console.status(Text(what)):
            yield
    else:
        late = threading.Timer(_SHORT_SECONDS, console.print, [what], {"soft_wrap": True})
        late.daemon = True
        late.start()
        try:
            yield
        finally:
            late.cancel()
