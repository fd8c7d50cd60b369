"""Write the tables of docs/audit.md from the table of checks: `python -m tools.write_audit_docs`."""

from __future__ import annotations

from pathlib import Path

from bakehouse.audit.all_checks import CHECK_GROUPS, CHECKS
from bakehouse.audit.audit_options import Limits
from tools.check_tables import check_row, page_with_tables, write_page

PAGE = Path(__file__).parent.parent / "docs" / "audit.md"
WORDS = {
    "folder": "FOLDER", "copy": "COPY", "resolution": "512", "use": "", "tagger": "TAGGER",
    "plan": 'FOLDER --subject "zwx person"', "recipe": "recipe.toml",
}  # fmt: skip


def page(text: str) -> str:
    """Return the page with up-to-date tables."""
    limits = Limits()
    columns = ("id", "level", "finding", "threshold", "fix")
    return page_with_tables(text, CHECK_GROUPS, columns, [check_row(check, limits, WORDS) for check in CHECKS])


if __name__ == "__main__":
    write_page(PAGE, page)
