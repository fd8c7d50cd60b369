"""Tag files as gallery-dl and Grabber write them beside their downloads, read as captions.

A caption that a person or a trainer wrote is not touched: what cannot be told from one is kept as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bakehouse.curate.captions.tags import form_of, spaced
from bakehouse.data.captions import decode_text

_KINDS = ("character", "copyright", "species", "general")
"""The kinds of tags that say what is seen, in the order in which a caption has them."""
_ABOUT = ("artist", "meta", "rating", "style", "studio", "source", "invalid", "deprecated", "circle", "faults", "lore")
"""Kinds that say who made it and of what sort the file is."""
_NAMESPACES = {
    "char": "character",
    "series": "copyright",
    "parody": "copyright",
    "creator": "artist",
    "model": "general",
}
_FOREIGN_KEYS = frozenset({"caption", "text", "prompt"})
"""JSON with one of these is a caption of a trainer."""

Tags = list[tuple[str, str]]
"""Kind and tag."""


def read_sidecars(files: Sequence[Path], *, artists: bool = False, underscores: bool = False) -> str | None:
    """The caption that a downloader's files about one image come to; None if none of them is such a file.

    JSON comes before text, since it knows what kind a tag is.

    Args:
        files: the caption files of an image.
        artists: keeps artists' names.
        underscores: keeps `long_hair` instead of `long hair`.
    """
    for path in sorted(files, key=lambda p: p.suffix.lower() != ".json"):
        text = decode_text(path.read_bytes())[0]
        found = _from_json(text) if path.suffix.lower() == ".json" else _from_text(text)
        if found:
            return _caption(found, artists=artists, underscores=underscores)
    return None


def is_downloaders(path: Path) -> bool:
    """Whether a file is one that a downloader wrote about an image."""
    return read_sidecars([path], artists=True) is not None


def _caption(tags: Tags, *, artists: bool, underscores: bool) -> str:
    kinds = (*_KINDS[:2], *(("artist",) if artists else ()), *_KINDS[2:])
    chosen = [tag for kind in kinds for of, tag in tags if of == kind]
    return ", ".join(dict.fromkeys(tag if underscores else spaced(tag) for tag in chosen))


# --- JSON -------------------------------------------------------------------------------------------------------------


def _from_json(text: str) -> Tags | None:
    """gallery-dl's metadata: `tags_general`, `tag_string_artist`, or `tags` as a list, a text, or lists by kind."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return None
    if not isinstance(value, Mapping) or _FOREIGN_KEYS & value.keys():
        return None
    by_kind = [
        (kind, tag)
        for kind in (*_KINDS, *_ABOUT)
        for key in (f"tags_{kind}", f"tag_string_{kind}")
        for tag in _list(value.get(key))
    ]
    if by_kind:
        return list(dict.fromkeys(by_kind))
    tags = value.get("tags", value.get("tag_string"))
    if isinstance(tags, Mapping):
        return [(_kind(str(kind)), tag) for kind, listed in tags.items() for tag in _list(listed)] or None
    # kohya's own JSON is told by what a downloader always has: the address or the number of the post.
    if not {"id", "post_url", "file_url", "category", "url", "md5"} & value.keys():
        return None
    return [_named(tag) for tag in _list(tags)] or None


def _list(value: Any) -> list[str]:
    """Tags as a list, or as text with commas or spaces between them."""
    if isinstance(value, str):
        return value.split(",") if "," in value else value.split()
    return [str(tag) for tag in value] if isinstance(value, list) else []


def _kind(word: str) -> str:
    word = word.strip().lower()
    word = _NAMESPACES.get(word, word)
    return word if word in _KINDS or word in _ABOUT else "general"


# --- text -------------------------------------------------------------------------------------------------------------


def _from_text(text: str) -> Tags | None:
    """One tag a line, `|` between tags, or spaces between tags that have underscores inside."""
    lines = [line for raw in text.splitlines() if (line := raw.strip())]
    if not lines:
        return None
    pieces = _pieces(lines)
    return [_named(piece) for piece in pieces if piece] if pieces else None


def _pieces(lines: Sequence[str]) -> list[str] | None:
    if len(lines) > 1:
        return list(lines) if len(lines) > 3 and all(_is_tag(line) for line in lines) else None
    line = lines[0]
    if "," in line or "|||" in line.replace("||_||", ""):
        return None
    if len(parts := [part.strip() for part in re.split(r"\s\|\s|(?<=[^|_\s])\|(?=[^|_\s])", line)]) > 1:
        return parts
    words = line.split()
    with_underscore = sum("_" in word.strip("_") for word in words)
    looks_tagged = len(words) > 2 and (with_underscore > 1 or any(_has_namespace(word) for word in words))
    return words if looks_tagged and form_of(line.replace(" ", ", ")) == "tags" and not _is_prose(words) else None


def _is_tag(line: str) -> bool:
    return "," not in line and len(line.split()) <= 4 and not line.endswith((".", ";"))


def _is_prose(words: Iterable[str]) -> bool:
    """Whether words that no tag is stand among them."""
    return bool({"a", "an", "the", "of", "with", "in", "on", "and", "is", "at"} & {word.lower() for word in words})


def _has_namespace(tag: str) -> bool:
    head, colon, rest = tag.partition(":")
    return bool(colon and rest.strip()) and _kind_or_none(head) is not None


def _named(tag: str) -> tuple[str, str]:
    """`artist:name` as its kind and the tag; a colon behind no known kind belongs to the tag (`re:zero`, `:d`)."""
    tag = tag.strip()
    head, colon, rest = tag.partition(":")
    kind = _kind_or_none(head) if colon and rest.strip() else None
    return (kind, rest.strip()) if kind else ("general", tag)


def _kind_or_none(word: str) -> str | None:
    word = word.strip().lower()
    return _kind(word) if word in _KINDS or word in _ABOUT or word in _NAMESPACES else None
