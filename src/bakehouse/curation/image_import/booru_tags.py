"""Read the tag files that gallery-dl and Grabber write beside their downloads as captions.

Captions written by people or trainers are left alone and take precedence over tag files of the same image. A file that
could be such a caption is copied unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.data.captions import decode_text, is_prose, line_form
from bakehouse.data.tags import form_of, spaced

_VISIBLE_KINDS = frozenset({"character", "copyright", "species", "general"})
"""Kinds of tags that describe the image."""
_ORDER = ("character", "copyright", "artist", "species", "general", "rating")
"""Order of the kinds in a caption."""
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
"""Kinds of tags about the author and the file."""
_NAMESPACES = {
    "char": "character",
    "series": "copyright",
    "parody": "copyright",
    "creator": "artist",
    "model": "general",
}
_FOREIGN_KEYS = frozenset({"caption", "text", "prompt"})
"""JSON with one of these keys is a trainer's caption file."""

Tags = list[tuple[str, str]]
"""Pairs of kind and tag."""


@dataclass(frozen=True)
class TagCaption:
    """A caption made from a downloader's tag file."""

    path: Path
    """The tag file."""
    caption: str
    left_out: tuple[tuple[str, str], ...]
    """Kind and tag of what does not describe the image: artists, ratings and the like."""


def read_tag_files(
    files: Sequence[Path],
    *,
    artists: bool = False,
    ratings: bool = False,
    underscores: bool = False,
    tag_lines: bool = False,
) -> TagCaption | None:
    """Return the caption made from a downloader's files about one image; None without such files, or with a caption.

    JSON takes precedence over text, because it holds the kinds of the tags.

    Args:
        files: the caption and tag files of an image.
        artists: keep artist names.
        ratings: keep ratings, such as `rating:general`.
        underscores: keep `long_hair` instead of `long hair`.
        tag_lines: read two or three short lines as one tag per line, as other files of the download have them.
    """
    texts = {path: decode_text(path.read_bytes())[0] for path in files}
    listed = {path: _from_json(text) for path, text in texts.items() if path.suffix.lower() == ".json"}
    known = {spaced(tag) for tags in listed.values() for _, tag in tags or ()}
    for path, text in texts.items():
        lines = _lines(text)
        if path in listed or not lines:
            continue
        named = all(spaced(line) in known for line in lines)  # a single tag is otherwise taken for a short caption
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
    """Return whether a download's text files have one tag per line: some clearly do, and none has several captions."""
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
    """Parse gallery-dl's metadata: `tags_general`, `tag_string_artist`, or `tags` as list, text, or lists by kind."""
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
    # Downloaders' JSON has the address or number of the post, kohya's has not.
    if not {"id", "post_url", "file_url", "category", "url", "md5"} & value.keys():
        return None
    return [_split_namespace(tag) for tag in _tag_list(tags)] or None


def _tag_list(value: Any) -> list[str]:
    """Return tags given as a list, or as text separated by commas or spaces."""
    if isinstance(value, str):
        return value.split(",") if "," in value else value.split()
    return [str(tag) for tag in value] if isinstance(value, list) else []


def _kind(word: str) -> str:
    word = word.strip().lower()
    word = _NAMESPACES.get(word, word)
    return word if word in _VISIBLE_KINDS or word in _METADATA_KINDS else "general"


# --- text -------------------------------------------------------------------------------------------------------------


def _from_text(lines: Sequence[str], *, tag_lines: bool) -> Tags | None:
    """Parse one tag per line, tags separated by `|`, or tags with underscores separated by spaces."""
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
    """Split `artist:name` into kind and tag; a colon after anything else belongs to the tag (`re:zero`, `:d`)."""
    tag = tag.strip()
    head, colon, rest = tag.partition(":")
    kind = _kind_or_none(head) if colon and rest.strip() else None
    return (kind, rest.strip()) if kind else ("general", tag)


def _kind_or_none(word: str) -> str | None:
    word = word.strip().lower()
    return _kind(word) if word in _VISIBLE_KINDS or word in _METADATA_KINDS or word in _NAMESPACES else None
