"""The two consoles: results on standard output, everything about the way there on standard error."""

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

from bakehouse.cli.render.printing import say
from bakehouse.core.pluralize import visible

_LOG_WIDTH = 160
"""Of tables in files and pipes, where nobody says how wide a line may be."""
_SHORT_SECONDS = 2.0


class _Screen(Console):
    """A console on which text steers nothing but its own styles: see `visible`."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)


def results() -> Console:
    """Where results go. NO_COLOR is honoured by rich itself."""
    return _console(sys.stdout.isatty())


def notes() -> Console:
    """Where progress and warnings go."""
    return _console(sys.stderr.isatty(), stderr=True)


def _console(terminal: bool, *, stderr: bool = False) -> Console:
    """Text is shown as it is: file names, captions and settings may hold `[brackets]` and `:words:`."""
    width = None if terminal else _LOG_WIDTH
    return _Screen(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


def print_table(table: Table) -> None:
    """A table on standard output; in a file without the spaces that would fill it to its width."""
    console = results()
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as drawn:
        console.print(table)
    say("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    say(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def print_warnings(warnings: Iterable[str]) -> None:
    """One line each on standard error."""
    console = notes()
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)


@contextlib.contextmanager
def busy(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Says that something short is under way: a spinner in a terminal; in a log one line, if it is not so short."""
    console = notes()
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
