"""Write the tables of docs/audit.md from the table of checks: `python -m tools.write_audit_docs`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bakehouse.audit.all_checks import CHECKS, FAMILIES
from bakehouse.audit.audit_options import Limits
from bakehouse.audit.check import Check

PAGE = Path(__file__).parent.parent / "docs" / "audit.md"
BEGIN, END = "<!-- checks: written by `make docs` -->", "<!-- end of checks -->"
WORDS = {
    "folder": "FOLDER", "copy": "COPY", "resolution": "512", "use": "",
    "plan": 'FOLDER --subject "zwx person"', "recipe": "recipe.toml",
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
        yield f"### {letter}. {family}\n\n| id | level | finding | threshold | fix |\n|---|---|---|---|---|\n"
        yield from (_row(check, limits) for check in CHECKS if check.id.startswith(letter))
        yield "\n"


def _row(check: Check, limits: Limits) -> str:
    fix = f"`{check.fix.format(**WORDS).strip()}`" if check.fix else check.advice
    finding = f"{check.title} (heuristic)" if check.heuristic else check.title
    cells = (check.id, check.level, finding, check.threshold_text(limits), fix)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def main() -> None:
    """Write the page; with --check, only fail if it is outdated."""
    text = PAGE.read_text("utf-8")
    fresh = page(text)
    if "--check" in sys.argv and fresh != text:
        sys.exit("docs/audit.md is not up to date: run `make docs`")
    PAGE.write_text(fresh, "utf-8")


if __name__ == "__main__":
    main()
