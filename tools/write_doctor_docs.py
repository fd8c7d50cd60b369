"""Write the tables of docs/doctor.md from the table of checks: `python -m tools.write_doctor_docs`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bakehouse.doctor.all_checks import CHECKS, FAMILIES
from bakehouse.doctor.check import Check
from bakehouse.doctor.doctor_options import Limits

PAGE = Path(__file__).parent.parent / "docs" / "doctor.md"
BEGIN, END = "<!-- checks: written by `make docs` -->", "<!-- end of checks -->"
WORDS = {
    "file": "FILE", "smaller": "OUT", "scaled": "OUT", "out": "OUT", "words": "WORDS", "merged": "FILE=0.5 FILE=0.5",
    "run": "RUN", "recipe": "RUN/recipe.toml", "next": "RUN-2", "folder": "FOLDER", "balance": "FOLDER",
    "subject": '"zwx person"', "usual": "RATE", "slower": "--set optimizer.lr=RATE",
    "length": "--set train.epochs=N", "setting": "--set optimizer.lr=RATE", "settings": "--set KEY=VALUE",
    "prior": "prior.source=class",
}  # fmt: skip


def page(text: str) -> str:
    """Return the page with up-to-date tables."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n\n{''.join(tables())}{END}{tail}"


def tables() -> Iterator[str]:
    """Yield one table for each family of checks."""
    limits = Limits()
    for letter, family in FAMILIES.items():
        yield f"### {letter}. {family}\n\n| id | level | ailment | when | what helps |\n|---|---|---|---|---|\n"
        yield from (_row(check, limits) for check in CHECKS if check.id.startswith(letter))
        yield "\n"


def _row(check: Check, limits: Limits) -> str:
    command = check.fix.format(**WORDS)
    title = f"{check.title} (heuristic)" if check.heuristic else check.title
    cells = (check.id, check.level, title, check.threshold_text(limits), f"`{command}`" if command else check.advice)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def main() -> None:
    """Write the page; with --check, only fail if it is outdated."""
    text = PAGE.read_text("utf-8")
    fresh = page(text)
    if "--check" in sys.argv and fresh != text:
        sys.exit("docs/doctor.md is not up to date: run `make docs`")
    PAGE.write_text(fresh, "utf-8")


if __name__ == "__main__":
    main()
