"""Splitting captions into tags and joining them; comparing spellings of tags; telling tags from prose."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Literal

from bakehouse.data.shipped_tag_lists import read_list

Form = Literal["tags", "prose"]

BARRIER = "|||"
"""kohya's keep-tokens separator: the tags before it stay in front. It is not a tag, and no rule moves it."""

_COMMA = re.compile(r",(?![^{]*\})")
"""Commas inside the braces of a wildcard do not separate tags."""
_SPACES = re.compile(r"\s+")
_ESCAPED = re.compile(r"\\([()])")

_ENDED = re.compile(r"[\w)\"'][.!?](\s+\S|$)")
_ARTICLE = re.compile(r"(a|an)\s+\S+\s+\S+", re.IGNORECASE)
_GRAMMAR = frozenset(
    """
    a an is are was has have with while who that which her his its their she he it they
    wears wearing stands standing sits sitting looks looking
    """.split()  # noqa: SIM905 - a list of thirty short strings is no better to read
)
"""Words of sentences. Titles, too, have `the`, `of` and `in`."""
_LINKS = _GRAMMAR | {"the", "of", "in", "on", "at", "under", "near"}
_LONG_PART = 6
"""Words. `brown and white striped background` is still a tag."""
_CLAUSE = 1 << 30
"""Stands for more words than any tag has."""
_LONE_PART = 4
"""Words of a caption without a comma: `photo of zwx person` is a sentence, `white shirt and red hat` a tag."""

_SEVERAL = re.compile(r"([2-9]\+?|[1-9]\d+|multiple |multi)(girls?|boys?|others?|people|persons?|views)")
_ONE = re.compile(r"(1|one |a )(girl|boy|other|man|woman|person)")
_SEVERAL_WORDS = frozenset({"couple", "group", "crowd", "everyone", "hetero", "yuri", "yaoi", "twins", "siblings"})


@functools.lru_cache(maxsize=1 << 15)
def split_caption(caption: str) -> tuple[str, ...]:
    """Return the tags in order, stripped, without empty ones; `|||` is an item of its own."""
    if BARRIER not in caption:
        pieces = _COMMA.split(caption) if "{" in caption else caption.split(",")
        return tuple(map(sys.intern, filter(None, map(str.strip, pieces))))
    sections = [split_caption(section) for section in caption.split(BARRIER)]
    joined = list(sections[0])
    for section in sections[1:]:
        joined += [BARRIER, *section]
    return tuple(joined)


def join_tags(tags: Iterable[str]) -> str:
    """Join tags into a caption with `, `; `|||` has a space on both sides. The inverse of `split_caption`."""
    return ", ".join(tags).replace(f", {BARRIER}, ", f" {BARRIER} ").replace(f", {BARRIER}", f" {BARRIER}")


@functools.cache
def key(tag: str) -> str:
    r"""Return a key that all spellings of a tag share: `Blue_Hair` and `blue  hair`, `a \(b\)` and `a (b)`."""
    tag = _ESCAPED.sub(r"\1", tag).strip()
    return (tag if is_face(tag) else _with_spaces(tag)).casefold()


@functools.lru_cache(maxsize=1 << 16)
def spaced(tag: str) -> str:
    """Return a tag with spaces for underscores and single spaces, unless it `keeps_underscores`."""
    tag = tag.strip()
    return tag if keeps_underscores(tag) else _with_spaces(tag)


def _with_spaces(tag: str) -> str:
    return _SPACES.sub(" ", tag.replace("_", " ")).strip()


@functools.lru_cache(maxsize=1 << 16)
def keeps_underscores(tag: str) -> bool:
    """Whether underscores belong to a tag: emoticons such as `^_^`, and tags that models learned so (`score_9`)."""
    return is_face(tag) or ("_" in tag and tag.strip().casefold() in read_list("underscored"))


@functools.lru_cache(maxsize=1 << 16)
def is_face(tag: str) -> bool:
    """Whether a tag is an emoticon with underscores: a known one, or one without two letters in a row."""
    bare = _ESCAPED.sub(r"\1", tag).casefold()
    return "_" in tag and (bare in _faces() or not re.search(r"[^\W\d_]{2}|\d[^\W\d_]|\d\d", bare))


@functools.cache
def _faces() -> frozenset[str]:
    return frozenset(face.casefold() for face in read_list("faces"))


@functools.lru_cache(maxsize=1 << 15)
def form_of(caption: str) -> Form:
    """Return whether a caption is a list of tags, or prose, whose parts cannot be moved."""
    parts = caption.split(",")
    longest = max(map(_words, parts))
    if longest == _CLAUSE:
        return "prose"
    if longest >= _LONE_PART and (_ENDED.search(caption) or (len(parts) == 1 and _has(_LINKS, caption.split()))):
        return "prose"
    return "tags"


@functools.lru_cache(maxsize=1 << 16)
def _words(part: str) -> int:
    """The number of words between two commas; `_CLAUSE` if they are certainly not a tag."""
    words = part.split()
    is_clause = (len(words) >= _LONG_PART and _has(_GRAMMAR, words)) or _ARTICLE.match(" ".join(words))
    return _CLAUSE if is_clause else len(words)


def _has(known: frozenset[str], words: Sequence[str]) -> bool:
    return not known.isdisjoint(map(str.casefold, words))


def has_several_people(tags: Sequence[str]) -> bool:
    """Whether the caption is about several people, so that it is unknown whose hair it names."""
    return sum(map(_people, set(map(key, tags)))) > 1


@functools.cache
def _people(k: str) -> int:
    """How many people a tag stands for, by its key: 0, 1, or 2 for several."""
    if k in _SEVERAL_WORDS or _SEVERAL.fullmatch(k):
        return 2
    return 1 if _ONE.fullmatch(k) else 0
