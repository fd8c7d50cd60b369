"""Base classes of caption rules: settings, which captions they apply to, and how they edit tags and sentences."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from bakehouse.core.settings import Spec
from bakehouse.data.shipped_tag_lists import read_list
from bakehouse.data.tag_vocabulary import TagVocabulary
from bakehouse.data.tags import BARRIER, key, split_caption

Tags = tuple[str, ...]
Caption = Tags | str
"""Tags in order, or the text of sentences."""


def _split_commas(tags: Tags) -> Tags:
    if blank := [tag for tag in tags if not split_caption(tag)]:
        raise ValueError(f"{blank[0]!r} is not a tag")
    return tuple(part for tag in tags for part in split_caption(tag))


TagList = Annotated[Tags, AfterValidator(_split_commas)]
"""Tags in a setting. `a, b` is two tags; an empty text is an error, such as an empty shell variable."""


def keep_tags(caption: Tags) -> Tags:
    """Return the tags as they are: the default of rules about sentences."""
    return caption


def keep_prose(caption: str) -> str:
    """Return the text as it is: the default of rules about tags."""
    return caption


@dataclass(frozen=True)
class BoundRule:
    """A rule bound to one folder: functions that edit tags and sentences."""

    edit_tags: Callable[[Tags], Tags] = keep_tags
    edit_prose: Callable[[str], str] = keep_prose
    affects: Callable[[str], bool] | None = None
    """Whether a caption with this tag may change; None: any caption may."""

    def candidates(self, captions: Sequence[Caption], tags: Iterable[str]) -> Sequence[int]:
        """Return the indices of captions that may change; `tags`, all of the folder, are each tested once."""
        if self.affects is None:
            return range(len(captions))
        affected = set(filter(self.affects, tags))
        if not affected:
            return [i for i, c in enumerate(captions) if isinstance(c, str)]
        return [i for i, c in enumerate(captions) if isinstance(c, str) or not affected.isdisjoint(c)]


@dataclass(frozen=True)
class Context:
    """What a rule knows of the folder that it is applied to."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """Number of captions with a tag, by its key, after the preceding rules."""
    vocabulary: TagVocabulary | None = None
    """Tags that the base model knows; None if unknown."""

    def knows(self, tag: str) -> bool:
        """Return whether there is a vocabulary and it has the tag."""
        return self.vocabulary is not None and self.vocabulary.knows(tag)


class CaptionFilter(Spec):
    """Selects the captions that a rule applies to: all conditions that are set must hold."""

    path: str = ""
    """Pattern of the caption's path in the folder: `2_red dress/*`; `!reg/*` is all others."""
    has: TagList = ()
    """All of these tags; `*` matches anything."""
    any: TagList = ()
    """At least one of these tags."""
    lacks: TagList = ()
    """None of these tags."""

    @property
    def description(self) -> str:
        """The conditions as text: `path 2_*, has zwx, smile`."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return ", ".join(f"{name} {v if isinstance(v, str) else ', '.join(v)}" for name, v in values.items() if v)

    def matches(self, caption: Caption, path: str) -> bool:
        """Return whether the conditions hold for a caption."""
        if self.path and fnmatchcase(path, self.path.removeprefix("!")) == self.path.startswith("!"):
            return False
        if not (self.has or self.any or self.lacks):
            return True
        words = (caption,) if isinstance(caption, str) else caption
        contains = functools.partial(_contains, words, isinstance(caption, str))
        return (
            all(contains(tag) for tag in self.has)
            and (not self.any or any(contains(tag) for tag in self.any))
            and not any(contains(tag) for tag in self.lacks)
        )


def _contains(words: Sequence[str], is_prose: bool, tag: str) -> bool:
    if is_prose:
        return phrase_pattern(tag).search(words[0]) is not None
    matches = matcher((tag,))
    return any(matches(word) for word in words)


class Rule(Spec):
    """One edit of captions."""

    needs_counts: ClassVar[bool] = False
    """Whether it uses the frequencies of tags in the folder."""
    kind: str
    where: CaptionFilter = Field(default_factory=CaptionFilter)
    """Captions that it applies to."""

    def bind(self, context: Context) -> BoundRule:
        """Return the rule bound to a folder."""
        raise NotImplementedError


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a predicate: is a tag one of `patterns`, in any spelling; `*` in a pattern matches anything."""
    return _matcher(tuple(patterns))


@functools.lru_cache(maxsize=256)
def _matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    whole = frozenset(key(p) for p in patterns if "*" not in p or len(p) < 2)
    globs = [".*".join(re.escape(piece) for piece in key(p).split("*")) for p in patterns if "*" in p and len(p) > 1]
    expression = re.compile("|".join(globs)) if globs else None

    @functools.lru_cache(maxsize=1 << 16)
    def matches(tag: str) -> bool:
        if tag == BARRIER:
            return False
        k = key(tag)
        return k in whole or (expression is not None and expression.fullmatch(k) is not None)

    return matches


@functools.lru_cache(maxsize=4096)
def phrase_pattern(words: str) -> re.Pattern[str]:
    """Return a pattern that finds whole words in a sentence, in any case; `*` matches letters within a word."""
    body = r"\w*".join(re.escape(piece) for piece in words.strip().split("*")).replace(r"\ ", r"\s+")
    return re.compile(rf"(?<!\w){body}(?!\w)", re.IGNORECASE)


def with_shipped_lists(tags: Sequence[str], lists: Sequence[str]) -> Tags:
    """Return the tags followed by those of shipped lists.

    Raises:
        UsageError: there is no such list.
    """
    return (*tags, *(entry for name in lists for entry in read_list(name)))


def per_tag(change: Callable[[str], str], prose: Callable[[str], str] = keep_prose) -> BoundRule:
    """Return a bound rule that edits single tags, cached by tag; a tag that becomes empty is removed."""
    cached = functools.cache(lambda tag: tag if tag == BARRIER else change(tag))
    return BoundRule(lambda caption: tuple(filter(None, map(cached, caption))), prose, lambda tag: cached(tag) != tag)
