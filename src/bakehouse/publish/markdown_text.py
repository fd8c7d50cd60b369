"""Text of unknown origin in Markdown: prompts, names and captions never become markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bakehouse.core.message_text import visible

_MARKUP = re.compile(r"([\\`*_\[\]<>|#~!$&])")


def plain(text: str) -> str:
    """Return text that a page shows as it is, on one line."""
    return _MARKUP.sub(r"\\\1", visible(" ".join(text.split())))


def code(text: str) -> str:
    """Return text as code, also where it holds backticks; a pipe would end a cell of a table."""
    text = visible(" ".join(text.split())).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; cells are Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join('---' for _ in head)}|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]
