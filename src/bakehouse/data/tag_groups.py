"""Groups of tags by what they are about (hair, clothes, ...), which triggers absorb or keep; shipped as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any

from bakehouse.core.parse_json_toml_yaml import parse_toml


def plain(tag: str) -> str:
    """Return a tag normalised for comparison: lower case, spaces for underscores, no backslashes."""
    return " ".join(tag.lower().replace("\\", "").replace("_", " ").split())


def groups() -> Mapping[str, Sequence[str]]:
    """Return the groups of tags by name, from triggers.toml."""
    found: Mapping[str, Sequence[str]] = tag_group_table()["groups"]
    return found


def excluded_groups(kind: str) -> Mapping[str, str]:
    """Return the groups that no strategy of this kind of trigger absorbs, each with the reason."""
    why = tag_group_table()["why"]
    return {
        group: why.get(group, "it is the character's, not the outfit's") for group in tag_group_table()["never"][kind]
    }


@cache
def group_of(tag: str) -> str | None:
    """Return the group of a tag; None if it is not about appearance: poses, places, views."""
    words = plain(tag).split()
    about = _before_preposition(words)
    ends = [tuple(words), *(tuple(about[start:]) for start in range(len(about)))]
    return next((group for end in ends if (group := _by_words().get(end))), None)


def head_of(tag: str) -> str:
    """Return the noun of a tag: `dress` of `long red dress`, `hair` of `pink hair with flowers`."""
    words = _before_preposition(plain(tag).split())
    return words[-1] if words else ""


_PREPOSITIONS = frozenset({"with", "on", "of", "over", "under", "between", "in", "around", "behind", "at", "from"})


def _before_preposition(words: Sequence[str]) -> Sequence[str]:
    cut = next((i for i, w in enumerate(words) if w in _PREPOSITIONS and i > 0), len(words))
    return words[:cut]


def matches(tag: str, entry: str) -> bool:
    """Whether a tag matches an entry: `@hair` is a group, `* print` a pattern, `overalls` any tag about overalls."""
    if entry.startswith("@"):
        return group_of(tag) == entry[1:]
    given, wanted = plain(tag), plain(entry)
    if any(c in wanted for c in "*?["):
        return fnmatchcase(given, wanted)
    words, want = given.split(), wanted.split()
    return given == wanted or words[-len(want) :] == want or list(_before_preposition(words))[-len(want) :] == want


@cache
def tag_group_table() -> Mapping[str, Any]:
    """Return the content of triggers.toml: groups, levels, and the groups that are never absorbed, with reasons."""
    text = (resources.files("bakehouse.data") / "triggers.toml").read_text("utf-8")
    return parse_toml(text)


@cache
def _by_words() -> Mapping[tuple[str, ...], str]:
    return {tuple(word.split()): group for group, words in groups().items() for word in words}
