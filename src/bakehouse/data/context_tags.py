"""Tags that say how and where a subject is shown, not what it is: framing, view, place, number; shipped as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.data.tag_groups import group_of, plain

Context = Literal["framing", "view", "place", "count"]

MAX_TAG_WORDS = 6
"""Longer texts between two commas are sentences, which may name much else: `brown and white striped background`."""


@cache
def context_of(tag: str) -> Context | None:
    """Return what a tag says of the image, or None if it is about the subject (or a sentence).

    `in a forest` is a place; `in a red dress` is not, since a dress is something to wear.
    """
    text = plain(tag)
    words = text.split()
    if not words or len(words) > MAX_TAG_WORDS:
        return None
    table = _table()
    names: tuple[Context, ...] = ("framing", "view", "count", "place")
    for name in names:
        if text in table[name]["tags"]:
            return name
    if re.fullmatch(table["count"]["pattern"], text):
        return "count"
    place = table["place"]
    begins = len(words) > 1 and words[0] in place["begins"] and group_of(" ".join(words[1:])) in (None, "background")
    return "place" if begins or words[-1] in place["ends"] else None


def context_tags(context: Context) -> tuple[str, ...]:
    """Return the listed tags of a kind, in lower case with spaces."""
    return tuple(_table()[context]["tags"])


@cache
def _table() -> Mapping[str, Any]:
    return parse_toml((resources.files("bakehouse.data") / "context_tags.toml").read_text("utf-8"))
