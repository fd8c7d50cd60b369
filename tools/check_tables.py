"""Tables of checks in the documentation, one for each group of checks, between two marks of a page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bakehouse.core.checks import BaseCheck
from bakehouse.core.settings import Spec

BEGIN, END = "<!-- checks: written by `make docs` -->", "<!-- end of checks -->"


def page_with_tables(
    text: str, groups: Mapping[str, str], columns: Sequence[str], rows: Iterable[Sequence[str]]
) -> str:
    """Return a page with up-to-date tables.

    Args:
        text: the page.
        groups: titles by the letter with which the ids of a group's checks begin.
        columns: titles of the columns.
        rows: the cells of each check; the first is its id.
    """
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    lines = [(cells[0], " | ".join(cell.replace("|", "\\|") for cell in cells)) for cells in rows]
    tables = ""
    for letter, title in groups.items():
        tables += f"### {letter}. {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
        tables += "".join(f"| {line} |\n" for name, line in lines if name.startswith(letter))
        tables += "\n"
    return f"{head}{BEGIN}\n\n{tables}{END}{tail}"


def check_row(check: BaseCheck[Any], limits: Spec, words: Mapping[str, str]) -> tuple[str, ...]:
    """Return a check's cells: id, level, title, threshold, and the command or advice.

    Args:
        words: what stands in the place of the command's placeholders.
    """
    command = check.fix.format(**words).strip()
    title = f"{check.title} (heuristic)" if check.heuristic else check.title
    return check.id, check.level, title, check.threshold_text(limits), f"`{command}`" if command else check.advice


def write_page(path: Path, page: Callable[[str], str]) -> None:
    """Write a page; with --check, only fail if it is outdated."""
    text = path.read_text("utf-8")
    fresh = page(text)
    if "--check" in sys.argv and fresh != text:
        sys.exit(f"docs/{path.name} is not up to date: run `make docs`")
    path.write_text(fresh, "utf-8")
