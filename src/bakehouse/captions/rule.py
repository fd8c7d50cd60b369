"""What every rule about captions is: settings, where it applies, and what it does to tags and to sentences."""

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
"""Tags in order, or sentences."""


def _apart(tags: Tags) -> Tags:
    if blank := [tag for tag in tags if not split_caption(tag)]:
        raise ValueError(f"{blank[0]!r} is no tag")
    return tuple(part for tag in tags for part in split_caption(tag))


Listed = Annotated[Tags, AfterValidator(_apart)]
"""Tags of a setting. `a, b` given as one text is two; a blank text is a mistake: an empty variable of a shell."""


def unchanged(caption: Tags) -> Tags:
    """What a rule does that says nothing about tags."""
    return caption


def unchanged_prose(caption: str) -> str:
    """What a rule does that says nothing about sentences."""
    return caption


@dataclass(frozen=True)
class Change:
    """A rule ready for one folder: what becomes of tags, and of sentences."""

    tags: Callable[[Tags], Tags] = unchanged
    prose: Callable[[str], str] = unchanged_prose
    on: Callable[[str], bool] | None = None
    """Tags without one of which a caption stays as it is; None where no single tag tells."""

    def touched(self, captions: Sequence[Caption], tags: Iterable[str]) -> Sequence[int]:
        """Numbers of the captions that may change: the folder's `tags` are asked once each, not in every caption."""
        if self.on is None:
            return range(len(captions))
        asked = set(filter(self.on, tags))
        if not asked:
            return [i for i, c in enumerate(captions) if isinstance(c, str)]
        return [i for i, c in enumerate(captions) if isinstance(c, str) or not asked.isdisjoint(c)]


@dataclass(frozen=True)
class Context:
    """What a rule may know of the folder it is used on."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """How many captions have a tag, by its key, as the rules before have left them."""
    vocabulary: TagVocabulary | None = None
    """What the base model knows; None where nobody said it."""

    def knows(self, tag: str) -> bool:
        """Whether a vocabulary is there and has the tag."""
        return self.vocabulary is not None and self.vocabulary.knows(tag)


class Where(Spec):
    """Which captions a rule is for. All that is said must hold."""

    path: str = ""
    """A pattern for the caption's path in the folder: `2_red dress/*`; `!reg/*` is everything else."""
    has: Listed = ()
    """All of these tags; `*` stands for anything."""
    any: Listed = ()
    """At least one of these tags."""
    lacks: Listed = ()
    """None of these tags."""

    @property
    def told(self) -> str:
        """In words: `path 2_*, has zwx, smile`."""
        said = {name: getattr(self, name) for name in type(self).model_fields}
        return ", ".join(f"{name} {v if isinstance(v, str) else ', '.join(v)}" for name, v in said.items() if v)

    def holds(self, caption: Caption, path: str) -> bool:
        """Whether the rule is for this caption."""
        if self.path and fnmatchcase(path, self.path.removeprefix("!")) == self.path.startswith("!"):
            return False
        if not (self.has or self.any or self.lacks):
            return True
        words = (caption,) if isinstance(caption, str) else caption
        found = functools.partial(_finds, words, isinstance(caption, str))
        return (
            all(found(tag) for tag in self.has)
            and (not self.any or any(found(tag) for tag in self.any))
            and not any(found(tag) for tag in self.lacks)
        )


def _finds(words: Sequence[str], is_prose: bool, tag: str) -> bool:
    if is_prose:
        return phrase(tag).search(words[0]) is not None
    matches = matcher((tag,))
    return any(matches(word) for word in words)


class Rule(Spec):
    """One thing to do to captions."""

    counts: ClassVar[bool] = False
    """Whether it has to know how frequent tags are in the folder."""
    kind: str
    where: Where = Field(default_factory=Where)
    """Which captions it is for."""

    def bind(self, context: Context) -> Change:
        """The rule with what it has to know of the folder."""
        raise NotImplementedError


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a tag is one of `patterns`, however it is spelled; `*` in a pattern stands for anything."""
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
def phrase(words: str) -> re.Pattern[str]:
    """Finds words in a sentence, whole and whatever their case; `*` stands for letters within a word."""
    body = r"\w*".join(re.escape(piece) for piece in words.strip().split("*")).replace(r"\ ", r"\s+")
    return re.compile(rf"(?<!\w){body}(?!\w)", re.IGNORECASE)


def with_lists(tags: Sequence[str], lists: Sequence[str]) -> Tags:
    """Tags, and those of shipped lists behind them.

    Raises:
        UsageError: there is no such list.
    """
    return (*tags, *(entry for name in lists for entry in read_list(name)))


def each_tag(change: Callable[[str], str], prose: Callable[[str], str] = unchanged_prose) -> Change:
    """A change of single tags, remembered for each; a tag that becomes empty goes."""
    remembered = functools.cache(lambda tag: tag if tag == BARRIER else change(tag))
    return Change(
        lambda caption: tuple(filter(None, map(remembered, caption))), prose, lambda tag: remembered(tag) != tag
    )
