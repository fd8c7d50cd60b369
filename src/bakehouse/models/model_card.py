"""The licence that a model's own card names: README.md in its folder, as the Hub has it."""

from __future__ import annotations

import re
from pathlib import Path

from bakehouse.core.parse_json_toml_yaml import parse_yaml

CARD = "README.md"
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)


def card_licence(folder: Path) -> str:
    """Return the licence in a model's card by its id on the Hub; empty if there is no card, or it names none."""
    card = folder / CARD
    if not card.is_file():
        return ""
    found = _FRONT_MATTER.match(card.read_text("utf-8", "replace"))
    try:
        fields = parse_yaml(found[1]) if found else None
    except ValueError:
        return ""
    if not isinstance(fields, dict):
        return ""
    name = str(fields.get("license") or "")
    return str(fields.get("license_name") or name) if name == "other" else name
