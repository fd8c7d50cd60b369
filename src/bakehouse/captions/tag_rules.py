"""Caption rules that add, remove, replace, deduplicate and sort tags."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from bakehouse.captions.rule import BoundRule, Context, Rule, TagList, Tags, matcher, phrase_pattern, with_shipped_lists
from bakehouse.data.tags import BARRIER, key, split_caption


class Add(Rule):
    """Add tags at the front or the back. An existing tag moves to the front; with `back` it stays where it is."""

    kind: Literal["add"] = "add"
    tags: TagList = Field(min_length=1)
    to: Literal["front", "back"] = "front"

    def bind(self, context: Context) -> BoundRule:
        keys = frozenset(map(key, self.tags))

        def front(tags: Tags) -> Tags:
            if tags[: len(self.tags)] == self.tags and len(set(self.tags)) == len(self.tags):
                return tags
            return (*self.tags, *(tag for tag in tags if key(tag) not in keys))

        def back(tags: Tags) -> Tags:
            existing = set(map(key, tags))
            return (*tags, *(tag for tag in self.tags if key(tag) not in existing))

        if self.to == "front":
            return BoundRule(front, lambda text: ", ".join([*self._missing(text), text]))
        return BoundRule(back, lambda text: ", ".join([text, *self._missing(text)]))

    def _missing(self, text: str) -> list[str]:
        return [tag for tag in self.tags if not phrase_pattern(tag).search(text)]


class Remove(Rule):
    """Remove tags in any spelling. Sentences are not changed: without a word the rest would make no sense."""

    kind: Literal["remove"] = "remove"
    tags: TagList = ()
    """`*` matches anything: `* background`."""
    lists: Tags = ()
    """Names of shipped lists: `junk`."""
    keep: TagList = ()
    """Tags that stay although a pattern or list matches them."""

    def bind(self, context: Context) -> BoundRule:
        unwanted, kept = matcher(with_shipped_lists(self.tags, self.lists)), matcher(self.keep)

        def is_removed(tag: str) -> bool:
            return unwanted(tag) and not kept(tag)

        return BoundRule(lambda tags: tuple(tag for tag in tags if not is_removed(tag)), affects=is_removed)


class Replace(Rule):
    """Replace tags: `{"red hair" = "ginger hair", "suit and tie" = "suit, necktie", "meme" = ""}`."""

    kind: Literal["replace"] = "replace"
    tags: dict[str, str] = Field(min_length=1)
    """Old to new. Several new tags are separated by commas; an empty text removes the tag (not from sentences)."""

    def bind(self, context: Context) -> BoundRule:
        table = {key(old): split_caption(new) for old, new in self.tags.items()}

        def replaced(tags: Tags) -> Tags:
            out: list[str] = []
            added = set()
            for tag in tags:
                new = table.get(key(tag))
                if new is None or tag == BARRIER:
                    out.append(tag)
                    continue
                # A new tag is added once, and not where the caption already has it.
                for part in new:
                    if part == tag or (key(part) not in added and not _exists(part, tag, tags)):
                        out.append(part)
                        added.add(key(part))
            return tuple(out)

        words = {old: new for old, new in self.tags.items() if new.strip()}
        return BoundRule(replaced, lambda text: _replace_words(text, words), lambda tag: key(tag) in table)


def _exists(part: str, tag: str, tags: Tags) -> bool:
    """Return whether a caption has `part` besides the tag that is replaced."""
    return key(part) != key(tag) and any(key(other) == key(part) for other in tags)


def _replace_words(text: str, words: dict[str, str]) -> str:
    """Replace whole words; where the new ones already are, nothing is replaced again."""
    for old, new in words.items():
        either = re.compile(f"(?P<new>{phrase_pattern(new).pattern})|{phrase_pattern(old).pattern}", re.IGNORECASE)
        text = either.sub(lambda m, new=new: m[0] if m["new"] else new, text)  # type: ignore[misc]
    return text


class Dedupe(Rule):
    """Keep the first of tags that differ only in spelling."""

    kind: Literal["dedupe"] = "dedupe"

    def bind(self, context: Context) -> BoundRule:
        def once(tags: Tags) -> Tags:
            if len(set(map(key, tags))) == len(tags):
                return tags
            seen: set[str] = set()
            out = []
            for tag in tags:
                k = key(tag)
                if tag == BARRIER or k not in seen:
                    out.append(tag)
                seen.add(k)
            return tuple(out)

        return BoundRule(once)


class Sort(Rule):
    """Sort tags. Tags before `|||`, and after a second one, stay in place."""

    needs_counts: ClassVar[bool] = True
    kind: Literal["sort"] = "sort"
    by: Literal["frequency", "alphabet"] = "frequency"
    """By frequency in the folder, the most frequent first (ties by the alphabet), or by the alphabet."""
    triggers: TagList = ()
    """Tags that come first, in this order."""
    keep: int = Field(0, ge=0)
    """Number of tags at the beginning that stay in place."""

    def bind(self, context: Context) -> BoundRule:
        ranks = {key(tag): i for i, tag in enumerate(self.triggers)}
        counts = context.counts if self.by == "frequency" else {}

        @functools.cache
        def sort_key(tag: str) -> tuple[int, int, str, str]:
            k = key(tag)
            return ranks.get(k, len(ranks)), -counts.get(k, 0), k, tag

        def ordered(tags: Tags) -> Tags:
            head, free, tail = _sections(tags)
            keep = max(0, self.keep - len(head)) if BARRIER not in tags else 0
            return (*head, *free[:keep], *sorted(free[keep:], key=sort_key), *tail)

        return BoundRule(ordered)


def _sections(tags: Sequence[str]) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """Return the fixed front, the free part and the fixed back; each `|||` belongs to a fixed part."""
    if BARRIER not in tags:
        return (), tags, ()
    first = tags.index(BARRIER) + 1
    rest = list(tags[first:])
    second = rest.index(BARRIER) if BARRIER in rest else len(rest)
    return tags[:first], rest[:second], rest[second:]
