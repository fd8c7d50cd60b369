"""Tag files as gallery-dl and Grabber write them beside their downloads, read as captions.

A caption that a person or a trainer wrote is not touched, and comes before tag files about the same image. What cannot
be told from such a caption is kept as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.data.captions import decode_text, is_prose, line_form
from bakehouse.data.tags import form_of, spaced

_VISIBLE_KINDS = frozenset({"character", "copyright", "species", "general"})
"""The kinds of tags that say what is seen."""
_ORDER = ("character", "copyright", "artist", "species", "general", "rating")
"""Of kinds in a caption."""
_METADATA_KINDS = (
    "artist",
    "meta",
    "rating",
    "style",
    "studio",
    "source",
    "invalid",
    "deprecated",
    "circle",
    "faults",
    "lore",
)
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


@dataclass(frozen=True)
class TagCaption:
    """A caption that was made of a downloader's file."""

    path: Path
    """The file that was read."""
    caption: str
    left_out: tuple[tuple[str, str], ...]
    """Kind and tag of what says nothing of the picture: artists, ratings and the like."""


def read_tag_files(
    files: Sequence[Path],
    *,
    artists: bool = False,
    ratings: bool = False,
    underscores: bool = False,
    tag_lines: bool = False,
) -> TagCaption | None:
    """The caption that a downloader's files about one image come to; None if there is none, or a caption beside them.

    JSON comes before text, since it knows of what kind a tag is.

    Args:
        files: the caption files of an image.
        artists: keeps artists' names.
        ratings: keeps ratings, for example `rating:general`.
        underscores: keeps `long_hair` instead of `long hair`.
        tag_lines: text of two or three short lines is one tag a line, as in other files of the same download.
    """
    texts = {path: decode_text(path.read_bytes())[0] for path in files}
    listed = {path: _from_json(text) for path, text in texts.items() if path.suffix.lower() == ".json"}
    known = {spaced(tag) for tags in listed.values() for _, tag in tags or ()}
    for path, text in texts.items():
        lines = _lines(text)
        if path in listed or not lines:
            continue
        named = all(spaced(line) in known for line in lines)  # a lone tag looks like a short caption
        tags = _from_text(lines, tag_lines=tag_lines or named)
        if tags is None and not named:
            return None
        listed[path] = tags
    found = next(((path, tags) for path, tags in listed.items() if tags), None)
    if found is None:
        return None
    kept = [kind for kind, wanted in (("artist", artists), ("rating", ratings)) if wanted]
    return _tag_caption(*found, kept=kept, underscores=underscores)


def has_tag_lines(files: Iterable[Path]) -> bool:
    """Whether the text files of a download have one tag a line: some certainly have, and none has several captions."""
    texts = (decode_text(path.read_bytes())[0] for path in files if path.suffix.lower() != ".json")
    forms = {line_form(lines) for text in texts if len(lines := _lines(text)) > 1}
    return "tags" in forms and "captions" not in forms


def _tag_caption(path: Path, tags: Tags, *, kept: Sequence[str], underscores: bool) -> TagCaption:
    kinds = [kind for kind in _ORDER if kind in _VISIBLE_KINDS or kind in kept]
    chosen = [f"rating:{tag}" if kind == "rating" else tag for kind in kinds for of, tag in tags if of == kind]
    caption = ", ".join(dict.fromkeys(tag if underscores else spaced(tag) for tag in chosen))
    return TagCaption(path, caption, tuple((kind, tag) for kind, tag in tags if kind not in kinds))


def _lines(text: str) -> list[str]:
    return [line for raw in text.splitlines() if (line := raw.strip())]


# --- JSON -------------------------------------------------------------------------------------------------------------


def _from_json(text: str) -> Tags | None:
    """gallery-dl's metadata: `tags_general`, `tag_string_artist`, or `tags` as a list, a text, or lists by kind."""
    try:
        value = parse_json(text)
    except json.JSONDecodeError:
        return None
    if not isinstance(value, Mapping) or _FOREIGN_KEYS & value.keys():
        return None
    by_kind = [
        (kind, tag)
        for kind in (*sorted(_VISIBLE_KINDS), *_METADATA_KINDS)
        for key in (f"tags_{kind}", f"tag_string_{kind}")
        for tag in _tag_list(value.get(key))
    ]
    if by_kind:
        return list(dict.fromkeys(by_kind))
    tags = value.get("tags", value.get("tag_string"))
    if isinstance(tags, Mapping):
        return [(_kind(str(kind)), tag) for kind, listed in tags.items() for tag in _tag_list(listed)] or None
    # kohya's own JSON is told by what a downloader always has: the address or the number of the post.
    if not {"id", "post_url", "file_url", "category", "url", "md5"} & value.keys():
        return None
    return [_split_namespace(tag) for tag in _tag_list(tags)] or None


def _tag_list(value: Any) -> list[str]:
    """Tags as a list, or as text with commas or spaces between them."""
    if isinstance(value, str):
        return value.split(",") if "," in value else value.split()
    return [str(tag) for tag in value] if isinstance(value, list) else []


def _kind(word: str) -> str:
    word = word.strip().lower()
    word = _NAMESPACES.get(word, word)
    return word if word in _VISIBLE_KINDS or word in _METADATA_KINDS else "general"


# --- text -------------------------------------------------------------------------------------------------------------


def _from_text(lines: Sequence[str], *, tag_lines: bool) -> Tags | None:
    """One tag a line, `|` between tags, or spaces between tags that have underscores inside."""
    pieces = _split_line(lines, tag_lines=tag_lines)
    return [_split_namespace(piece) for piece in pieces if piece] if pieces else None


def _split_line(lines: Sequence[str], *, tag_lines: bool) -> list[str] | None:
    if len(lines) > 1:
        form = line_form(lines)
        return list(lines) if form == "tags" or (form == "either" and tag_lines) else None
    line = lines[0]
    if "," in line or "|||" in line.replace("||_||", ""):
        return None
    if len(parts := [part.strip() for part in re.split(r"\s\|\s|(?<=[^|_\s])\|(?=[^|_\s])", line)]) > 1:
        return parts
    words = line.split()
    with_underscore = sum("_" in word.strip("_") for word in words)
    looks_tagged = len(words) > 2 and (with_underscore > 1 or any(_has_namespace(word) for word in words))
    return words if looks_tagged and form_of(line.replace(" ", ", ")) == "tags" and not is_prose(words) else None


def _has_namespace(tag: str) -> bool:
    head, colon, rest = tag.partition(":")
    return bool(colon and rest.strip()) and _kind_or_none(head) is not None


def _split_namespace(tag: str) -> tuple[str, str]:
    """`artist:name` as its kind and the tag; a colon behind no known kind belongs to the tag (`re:zero`, `:d`)."""
    tag = tag.strip()
    head, colon, rest = tag.partition(":")
    kind = _kind_or_none(head) if colon and rest.strip() else None
    return (kind, rest.strip()) if kind else ("general", tag)


def _kind_or_none(word: str) -> str | None:
    word = word.strip().lower()
    return _kind(word) if word in _VISIBLE_KINDS or word in _METADATA_KINDS or word in _NAMESPACES else None
