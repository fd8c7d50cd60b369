"""Write the tables of docs/doctor.md from the table of checks: `python -m tools.write_doctor_docs`."""

from __future__ import annotations

from pathlib import Path

from bakehouse.doctor.all_checks import CHECK_GROUPS, CHECKS
from bakehouse.doctor.doctor_options import Limits
from tools.check_tables import check_row, page_with_tables, write_page

PAGE = Path(__file__).parent.parent / "docs" / "doctor.md"
WORDS = {
    "file": "FILE", "smaller": "OUT", "scaled": "OUT", "out": "OUT", "words": "WORDS", "merged": "FILE=0.5 FILE=0.5",
    "run": "RUN", "recipe": "RUN/recipe.toml", "next": "RUN-2", "folder": "FOLDER", "base": "BASE", "balance": "FOLDER",
    "subject": '"zwx person"', "usual": "RATE", "slower": "--set optimizer.lr=RATE",
    "length": "--set train.epochs=N", "setting": "--set optimizer.lr=RATE", "settings": "--set KEY=VALUE",
    "prior": "prior.source=class",
}  # fmt: skip


def page(text: str) -> str:
    """Return the page with up-to-date tables."""
    limits = Limits()
    columns = ("id", "level", "problem", "when", "what helps")
    return page_with_tables(text, CHECK_GROUPS, columns, [check_row(check, limits, WORDS) for check in CHECKS])


if __name__ == "__main__":
    write_page(PAGE, page)
