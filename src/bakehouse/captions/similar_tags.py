"""Tags that are almost another: one tag in several spellings, and what is probably mistyped."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bakehouse.data.tag_vocabulary import TagVocabulary
from bakehouse.data.tags import BARRIER, key

_SHORT = 5
"""Letters of a word that one wrong letter makes another word of: `red` and `bed`."""
_LONG = 9
"""Letters from which a slip may also be one letter too many and another too few."""
_RARE = 5
"""So much rarer must a slip be than what was meant, where no vocabulary tells."""
_LONGEST = 100
"""Letters of a tag that a slip is looked for in; what is longer is a sentence."""
_LETTERS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class NearMiss:
    """A tag that was probably meant to be another."""

    tag: str
    count: int
    """Captions with it."""
    meant: str
    meant_count: int
    """Captions with what was meant; 0 where only the vocabulary has it."""


def variants(
    written: Mapping[str, int], listed: Iterable[Sequence[str]]
) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    """Captions with each tag, whatever its spelling, and the other spellings of those that have several.

    Args:
        written: how often each spelling is used.
        listed: the tags of each caption.
    """
    spelled: dict[str, list[str]] = defaultdict(list)
    for tag, _ in sorted(written.items(), key=lambda entry: (-entry[1], entry[0])):
        spelled[key(tag)].append(tag)
    by_key: Counter[str] = Counter()
    for tags in listed:
        by_key.update({key(tag) for tag in tags if tag != BARRIER})
    counts = {spelled[k][0]: n for k, n in by_key.items()}
    return counts, {tags[0]: tuple(tags[1:]) for tags in spelled.values() if len(tags) > 1}


def near_misses(counts: Mapping[str, int], vocabulary: TagVocabulary | None = None) -> Iterator[NearMiss]:
    """Tags that are a slip away from a more frequent one, or from one that the vocabulary has.

    A tag that the vocabulary has is never a slip. Numbers are never slips: `1girl` is not `2girls`.
    """
    known = {key(tag): tag for tag in counts}
    frequent = {k: counts[tag] for k, tag in known.items()}
    names = set(frequent) | ({key(n) for n in vocabulary.names()} if vocabulary is not None else set())
    index = _Index(names)
    for k, tag in sorted(known.items()):
        if vocabulary is not None and vocabulary.knows(tag):
            continue
        likely = [other for other in index.near(k) if _is_meant(k, other, frequent, vocabulary)]
        if likely:
            meant = max(likely, key=lambda other: (frequent.get(other, 0), other))
            yield NearMiss(tag, counts[tag], known.get(meant, meant), frequent.get(meant, 0))


def _is_meant(k: str, other: str, counts: Mapping[str, int], vocabulary: TagVocabulary | None) -> bool:
    if vocabulary is not None and vocabulary.knows(other):
        return True
    return counts.get(other, 0) >= _RARE * counts[k]


class _Index:
    """Tags by their digits and by what is left of them without a letter: two that meet there may be a slip apart."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._tags: dict[tuple[str, str], list[str]] = defaultdict(list)
        for k in keys:
            digits = _digits(k)
            for rest in _rests(k):
                self._tags[digits, rest].append(k)

    def near(self, k: str) -> list[str]:
        """Tags that differ from `k` by a slip."""
        digits = _digits(k)
        found = {other for rest in _rests(k) for other in self._tags.get((digits, rest), ()) if other != k}
        return sorted(other for other in found if _is_slip(k, other))


def _digits(k: str) -> str:
    return "" if k.isalpha() else "".join(filter(str.isdigit, k))


def _rests(k: str) -> set[str]:
    """A tag without spaces and hyphens, and the same with one letter left out, each in turn."""
    bare = _LETTERS.sub("", k)
    return {bare, *(bare[:i] + bare[i + 1 :] for i in range(len(bare)))} if _SHORT <= len(bare) <= _LONGEST else {bare}


def _is_slip(a: str, b: str) -> bool:
    """Whether only spaces and hyphens differ, or one word by a slip; both have the same digits."""
    if _LETTERS.sub("", a) == _LETTERS.sub("", b):
        return True
    left, right = a.split(" "), b.split(" ")
    if len(left) != len(right):
        return False
    other = [(x, y) for x, y in zip(left, right, strict=True) if x != y]
    if len(other) != 1:
        return False
    x, y = other[0]
    if min(len(x), len(y)) < _SHORT or x[0] != y[0] or _is_plural(x, y):
        return False
    return edit_distance(x, y) <= (2 if min(len(x), len(y)) >= _LONG else 1)


def _is_plural(x: str, y: str) -> bool:
    return x + "s" == y or y + "s" == x


def edit_distance(a: str, b: str) -> int:
    """Letters to put in, take out, change or swap with their neighbour (Damerau 1964, optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, older[j - 2] + 1)
            row.append(best)
    return row[-1]
