"""Tables about other trainers, shipped as data beside these modules."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bakehouse.core.parse_json_toml_yaml import parse_json, parse_toml


@cache
def shipped_table(name: str) -> Mapping[str, Any]:
    """Return a TOML or JSON file of this package."""
    text = Path(__file__).with_name(name).read_text("utf-8")
    table: Mapping[str, Any] = parse_toml(text) if name.endswith(".toml") else parse_json(text)
    return table
