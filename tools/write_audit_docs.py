"""Write the tables of docs/audit.md from the table of checks: `python -m tools.write_audit_docs`."""

from __future__ import annotations

from pathlib import Path

from bakehouse.audit.all_checks import CHECKS, FAMILIES
from bakehouse.audit.audit_options import Limits
from bakehouse.audit.check import Check
from tools.check_tables import page_with_tables, write_page

PAGE = Path(__file__).parent.parent / "docs" / "audit.md"
WORDS = {
    "folder": "FOLDER", "copy": "COPY", "resolution": "512", "use": "",
    "plan": 'FOLDER --subject "zwx person"', "recipe": "recipe.toml",
}  # fmt: skip


def page(text: str) -> str:
    """Return the page with up-to-date tables."""
    limits = Limits()
    columns = ("id", "level", "finding", "threshold", "fix")
    return page_with_tables(text, FAMILIES, columns, [_row(check, limits) for check in CHECKS])


def _row(check: Check, limits: Limits) -> tuple[str, ...]:
    fix = f"`{check.fix.format(**WORDS).strip()}`" if check.fix else check.advice
    finding = f"{check.title} (heuristic)" if check.heuristic else check.title
    return check.id, check.level, finding, check.threshold_text(limits), fix


if __name__ == "__main__":
    write_page(PAGE, page)
