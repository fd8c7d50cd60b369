"""Similar tags: one tag in several spellings, and probable typing errors."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bakehouse.data.tag_vocabulary import TagVocabulary
from bakehouse.data.tags import BARRIER, key

_MIN_LETTERS = 5
"""Shorter words are not compared: one letter makes another word, as in `red` and `bed`."""
_TWO_TYPOS = 9
"""Letters from which a word may differ by two edits."""
_RARER = 5
"""How many times rarer a typo must be than its correction, if no vocabulary has the correction."""
_MAX_LETTERS = 100
"""Longer tags are not compared: they are sentences."""
_NOT_LETTERS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Typo:
    """A tag that is probably a misspelling of another."""

    tag: str
    count: int
    """Captions with it."""
    correction: str
    correction_count: int
    """Captions with the correction; 0 if only the vocabulary has it."""


def count_spellings(
    spelling_counts: Mapping[str, int], captions: Iterable[Sequence[str]]
) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    """Return how many captions have each tag, in any spelling, and the other spellings of tags that have several.

    Args:
        spelling_counts: how often each spelling is used.
        captions: the tags of each caption.
    """
    spelled: dict[str, list[str]] = defaultdict(list)
    for tag, _ in sorted(spelling_counts.items(), key=lambda entry: (-entry[1], entry[0])):
        spelled[key(tag)].append(tag)
    by_key: Counter[str] = Counter()
    for tags in captions:
        by_key.update({key(tag) for tag in tags if tag != BARRIER})
    counts = {spelled[k][0]: n for k, n in by_key.items()}
    return counts, {tags[0]: tuple(tags[1:]) for tags in spelled.values() if len(tags) > 1}


def find_typos(counts: Mapping[str, int], vocabulary: TagVocabulary | None = None) -> Iterator[Typo]:
    """Yield tags that are one typing error away from a more frequent tag, or from one of the vocabulary.

    Tags of the vocabulary are never typos. Digits never differ: `1girl` is no typo of `2girls`.
    """
    known = {key(tag): tag for tag in counts}
    frequent = {k: counts[tag] for k, tag in known.items()}
    names = set(frequent) | ({key(n) for n in vocabulary.names()} if vocabulary is not None else set())
    index = _Index(names)
    for k, tag in sorted(known.items()):
        if vocabulary is not None and vocabulary.knows(tag):
            continue
        likely = [other for other in index.similar(k) if _is_correction(k, other, frequent, vocabulary)]
        if likely:
            best = max(likely, key=lambda other: (frequent.get(other, 0), other))
            yield Typo(tag, counts[tag], known.get(best, best), frequent.get(best, 0))


def _is_correction(k: str, other: str, counts: Mapping[str, int], vocabulary: TagVocabulary | None) -> bool:
    if vocabulary is not None and vocabulary.knows(other):
        return True
    return counts.get(other, 0) >= _RARER * counts[k]


class _Index:
    """Index of tags by digits and deletions (SymSpell): two tags with a common entry may be a typo apart."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._tags: dict[tuple[str, str], list[str]] = defaultdict(list)
        for k in keys:
            digits = _digits(k)
            for deletion in _deletions(k):
                self._tags[digits, deletion].append(k)

    def similar(self, k: str) -> list[str]:
        """Return the tags that differ from `k` by a typing error."""
        digits = _digits(k)
        found = {other for deletion in _deletions(k) for other in self._tags.get((digits, deletion), ()) if other != k}
        return sorted(other for other in found if _is_typo(k, other))


def _digits(k: str) -> str:
    return "" if k.isalpha() else "".join(filter(str.isdigit, k))


def _deletions(k: str) -> set[str]:
    """Return a tag without spaces and hyphens, and every form of it with one letter deleted."""
    bare = _NOT_LETTERS.sub("", k)
    if not _MIN_LETTERS <= len(bare) <= _MAX_LETTERS:
        return {bare}
    return {bare, *(bare[:i] + bare[i + 1 :] for i in range(len(bare)))}


def _is_typo(a: str, b: str) -> bool:
    """Return whether only spaces and hyphens differ, or one word by a typing error; both have the same digits."""
    if _NOT_LETTERS.sub("", a) == _NOT_LETTERS.sub("", b):
        return True
    left, right = a.split(" "), b.split(" ")
    if len(left) != len(right):
        return False
    different = [(x, y) for x, y in zip(left, right, strict=True) if x != y]
    if len(different) != 1:
        return False
    x, y = different[0]
    if min(len(x), len(y)) < _MIN_LETTERS or x[0] != y[0] or _is_plural(x, y):
        return False
    return edit_distance(x, y) <= (2 if min(len(x), len(y)) >= _TWO_TYPOS else 1)


def _is_plural(x: str, y: str) -> bool:
    return x + "s" == y or y + "s" == x


def edit_distance(a: str, b: str) -> int:
    """Return the letters to insert, delete, replace or transpose (Damerau 1964, optimal string alignment)."""
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
