"""Rules that add, remove, replace and put into order."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from bakehouse.captions.rule import Change, Context, Listed, Rule, Tags, matcher, phrase, with_lists
from bakehouse.data.tags import BARRIER, key, split_caption


class Add(Rule):
    """Tags put in front or at the back. One that is there moves to the front; at the back it stays where it is."""

    kind: Literal["add"] = "add"
    tags: Listed = Field(min_length=1)
    to: Literal["front", "back"] = "front"

    def bind(self, context: Context) -> Change:
        keys = frozenset(map(key, self.tags))

        def front(tags: Tags) -> Tags:
            if tags[: len(self.tags)] == self.tags and len(set(self.tags)) == len(self.tags):
                return tags
            return (*self.tags, *(tag for tag in tags if key(tag) not in keys))

        def back(tags: Tags) -> Tags:
            there = set(map(key, tags))
            return (*tags, *(tag for tag in self.tags if key(tag) not in there))

        if self.to == "front":
            return Change(front, lambda text: ", ".join([*self._missing(text), text]))
        return Change(back, lambda text: ", ".join([text, *self._missing(text)]))

    def _missing(self, text: str) -> list[str]:
        return [tag for tag in self.tags if not phrase(tag).search(text)]


class Remove(Rule):
    """Tags taken out, however they are spelled. Sentences stay: without a word the rest would make no sense."""

    kind: Literal["remove"] = "remove"
    tags: Listed = ()
    """`*` stands for anything: `* background`."""
    lists: Tags = ()
    """Shipped lists: `junk`."""
    keep: Listed = ()
    """What stays although a pattern or list has it."""

    def bind(self, context: Context) -> Change:
        gone, kept = matcher(with_lists(self.tags, self.lists)), matcher(self.keep)

        def goes(tag: str) -> bool:
            return gone(tag) and not kept(tag)

        return Change(lambda tags: tuple(tag for tag in tags if not goes(tag)), on=goes)


class Replace(Rule):
    """Tags by others: `{"red hair" = "ginger hair", "suit and tie" = "suit, necktie", "meme" = ""}`."""

    kind: Literal["replace"] = "replace"
    tags: dict[str, str] = Field(min_length=1)
    """Old to new. Several tags with commas between them; an empty text takes the tag out (never from sentences)."""

    def bind(self, context: Context) -> Change:
        table = {key(old): split_caption(new) for old, new in self.tags.items()}

        def replaced(tags: Tags) -> Tags:
            out: list[str] = []
            seen = set()
            for tag in tags:
                new = table.get(key(tag))
                if new is None or tag == BARRIER:
                    out.append(tag)
                    continue
                # What a replacement brings is brought once, and not beside itself.
                for part in new:
                    if part == tag or (key(part) not in seen and not _elsewhere(part, tag, tags)):
                        out.append(part)
                        seen.add(key(part))
            return tuple(out)

        words = {old: new for old, new in self.tags.items() if new.strip()}
        return Change(replaced, lambda text: _replace_words(text, words), lambda tag: key(tag) in table)


def _elsewhere(part: str, tag: str, tags: Tags) -> bool:
    return key(part) != key(tag) and any(key(other) == key(part) for other in tags)


def _replace_words(text: str, words: dict[str, str]) -> str:
    """Whole words by others; where the new ones stand already, they are not replaced again."""
    for old, new in words.items():
        either = re.compile(f"(?P<new>{phrase(new).pattern})|{phrase(old).pattern}", re.IGNORECASE)
        text = either.sub(lambda m, new=new: m[0] if m["new"] else new, text)  # type: ignore[misc]
    return text


class Dedupe(Rule):
    """Of tags that are the same but for spelling, the first one stays."""

    kind: Literal["dedupe"] = "dedupe"

    def bind(self, context: Context) -> Change:
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

        return Change(once)


class Sort(Rule):
    """Tags in an order. What is kept in front, and what stands before `|||` or behind a second one, stays."""

    counts: ClassVar[bool] = True
    kind: Literal["sort"] = "sort"
    by: Literal["frequency", "alphabet"] = "frequency"
    """The folder's most frequent tag first (ties by the alphabet), or by the alphabet."""
    triggers: Listed = ()
    """These come first, in this order, where a caption has them."""
    keep: int = Field(0, ge=0)
    """So many tags at the beginning stay where they are."""

    def bind(self, context: Context) -> Change:
        ranks = {key(tag): i for i, tag in enumerate(self.triggers)}
        counts = context.counts if self.by == "frequency" else {}

        @functools.cache
        def place(tag: str) -> tuple[int, int, str, str]:
            k = key(tag)
            return ranks.get(k, len(ranks)), -counts.get(k, 0), k, tag

        def ordered(tags: Tags) -> Tags:
            head, free, tail = _sections(tags)
            keep = max(0, self.keep - len(head)) if BARRIER not in tags else 0
            return (*head, *free[:keep], *sorted(free[keep:], key=place), *tail)

        return Change(ordered)


def _sections(tags: Sequence[str]) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """What stays in front, what is free, what stays behind; the `|||` belong to what stays."""
    if BARRIER not in tags:
        return (), tags, ()
    first = tags.index(BARRIER) + 1
    rest = list(tags[first:])
    second = rest.index(BARRIER) if BARRIER in rest else len(rest)
    return tags[:first], rest[:second], rest[second:]
