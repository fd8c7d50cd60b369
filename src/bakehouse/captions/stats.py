"""Caption statistics of a folder: tag frequencies, lengths, unknown and misspelled tags, co-occurrence."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bakehouse.captions.caption_files import CaptionFolder
from bakehouse.captions.similar_tags import Typo, count_spellings, find_typos
from bakehouse.captions.tag_meaning_rules import vague_tags
from bakehouse.data.tag_vocabulary import TagVocabulary
from bakehouse.data.tags import BARRIER, form_of, key, split_caption

LIMITS = (75, 150, 225)
"""Tokens in one, two and three chunks of a CLIP text encoder; tokens past the last are never used."""
WEAK = 1000
"""The base model knows a tag with fewer training images only weakly."""
_PAIR_TAGS = 200
"""Number of the most frequent tags among which pairs are counted."""
_MIN_SHARED = 3
"""Fewest captions with both tags of a pair."""
_JSON_KEYS = {"correction": "meant", "correction_count": "meant_count"}
"""Fields whose key in JSON differs."""

CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""Returns the number of tokens of each caption, without begin and end marks."""


@dataclass(frozen=True)
class Pair:
    """Two tags that co-occur."""

    first: str
    second: str
    both: int
    """Captions with both."""
    jaccard: float
    """Share of the captions with either tag that have both: 1.0 if neither occurs without the other."""


@dataclass(frozen=True)
class LongCaption:
    """A caption that is longer than one chunk of the text encoder."""

    path: str
    tokens: int
    past: str
    """The tags (or words) after the first chunk of 75 tokens."""


@dataclass(frozen=True)
class CaptionStats:
    """Statistics of a folder's captions."""

    images: int
    without: int
    """Images without a caption, or with an empty one."""
    captions: int
    """Number of captions; a file may have several lines, each a caption."""
    sentences: int
    """Captions with sentences; their words are not counted as tags."""
    frequency: Mapping[str, int]
    """Number of captions with each tag in its most frequent spelling, the most frequent first."""
    lengths: Mapping[int, int]
    """Number of captions by their number of tags."""
    tokens: Mapping[str, int]
    """Number of captions by token count: up to `75`, `150`, `225`, or `more`. Empty without a tokenizer."""
    longest: tuple[LongCaption, ...]
    """Captions longer than one chunk, the longest first."""
    unknown: tuple[str, ...]
    """Tags that are not in the vocabulary; empty without a vocabulary."""
    weak: Mapping[str, int]
    """Tags of the vocabulary with fewer than 1,000 training images."""
    vague: tuple[str, ...]
    """Ambiguous tags: `armor`, `bow`."""
    spellings: Mapping[str, tuple[str, ...]]
    """Other spellings of tags: `Blue_Hair` of `blue hair`."""
    near: tuple[Typo, ...]
    """Tags that are probably misspelled."""
    pairs: tuple[Pair, ...]
    """Tags that co-occur most, by Jaccard index; tags in every caption are left out."""
    files: Mapping[str, int]
    """Number of files by extension: raw tags (`.tags`) are read instead of the captions compiled from them."""
    notes: tuple[str, ...] = ()
    """Warnings about encodings and line formats."""

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as `--json` prints them."""
        return asdict(self, dict_factory=lambda fields: {_JSON_KEYS.get(name, name): value for name, value in fields})


def caption_stats(
    folder: CaptionFolder, *, vocabulary: TagVocabulary | None = None, count_tokens: CountTokens | None = None
) -> CaptionStats:
    """Compute the statistics of a folder's captions.

    Args:
        folder: of `read_captions`.
        vocabulary: of the base model, for unknown and weak tags.
        count_tokens: of the base model's tokenizer, for token counts.
    """
    lines = [(str(file.name), line) for file in folder.captions for line in file.captions]
    tagged = [split_caption(line) for _, line in lines if form_of(line) == "tags"]
    spelling_counts = Counter(tag for tags in tagged for tag in set(tags) if tag != BARRIER)
    counts, spellings = count_spellings(spelling_counts, tagged)
    sizes = list(count_tokens([line for _, line in lines])) if count_tokens is not None else []
    keys = {key(tag): tag for tag in counts}
    vague = vague_tags()
    return CaptionStats(
        images=len(folder.images),
        without=sum(1 for file in folder.images.values() if file is None or not file.captions),
        captions=len(lines),
        sentences=len(lines) - len(tagged),
        frequency=dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))),
        lengths=dict(sorted(Counter(map(len, tagged)).items())),
        tokens=_chunks(sizes),
        longest=_longest(lines, sizes, count_tokens),
        unknown=tuple(tag for tag in counts if vocabulary is not None and not vocabulary.knows(tag)),
        weak=_weak(counts, vocabulary),
        vague=tuple(tag for k, tag in keys.items() if k in vague),
        spellings=spellings,
        near=tuple(find_typos(counts, vocabulary)),
        pairs=tuple(_pairs(tagged, counts)),
        files=dict(sorted(Counter(file.path.suffix.lower() for file in folder.captions).items())),
        notes=folder.notes,
    )


def _chunks(sizes: Sequence[int]) -> dict[str, int]:
    if not sizes:
        return {}
    names = [*map(str, LIMITS), "more"]
    counts = Counter(next((str(limit) for limit in LIMITS if n <= limit), "more") for n in sizes)
    return {name: counts[name] for name in names}


def _longest(
    lines: Sequence[tuple[str, str]], sizes: Sequence[int], count: CountTokens | None
) -> tuple[LongCaption, ...]:
    over = sorted(
        ((n, path, line) for (path, line), n in zip(lines, sizes, strict=False) if n > LIMITS[0]), reverse=True
    )
    return (
        tuple(LongCaption(path, n, _after_first_chunk(line, count)) for n, path, line in over)
        if count is not None
        else ()
    )


def _after_first_chunk(line: str, count: CountTokens) -> str:
    """Return the tags after the 75th token, or the words if there are no commas."""
    separator = ", " if "," in line else " "
    parts = split_caption(line) if "," in line else line.split()
    return separator.join(parts[_fitting(parts, separator, count) :])


def _fitting(parts: Sequence[str], separator: str, count: CountTokens) -> int:
    """Return how many parts fit into the first chunk, by galloping search: a huge caption is not counted whole."""

    def is_past(n: int) -> bool:
        return count([separator.join(parts[:n])])[0] > LIMITS[0]

    high = 1
    while high < len(parts) and not is_past(high):
        high *= 2
    return bisect.bisect_left(range(min(high, len(parts)) + 1), True, lo=high // 2, key=is_past) - 1


def _weak(counts: Mapping[str, int], vocabulary: TagVocabulary | None) -> dict[str, int]:
    if vocabulary is None:
        return {}
    known = {tag: n for tag in counts if (n := vocabulary.count(tag)) is not None}
    return {tag: n for tag, n in sorted(known.items(), key=lambda entry: entry[1]) if n < WEAK}


def _pairs(tagged: Sequence[Sequence[str]], counts: Mapping[str, int], most: int = 20) -> list[Pair]:
    """Return the `most` pairs of frequent tags with the highest Jaccard index."""
    everywhere = {key(tag) for tag, n in counts.items() if n == len(tagged)}
    frequent = [tag for tag, n in sorted(counts.items(), key=lambda e: (-e[1], e[0])) if key(tag) not in everywhere]
    names = {key(tag): tag for tag in frequent[:_PAIR_TAGS]}
    places = {k: i for i, k in enumerate(names)}
    together: Counter[tuple[str, str]] = Counter()
    for tags in tagged:
        present = sorted({k for tag in tags if (k := key(tag)) in names}, key=places.__getitem__)
        together.update(itertools.combinations(present, 2))
    pairs = [
        Pair(names[a], names[b], n, n / (counts[names[a]] + counts[names[b]] - n))
        for (a, b), n in together.items()
        if n >= _MIN_SHARED
    ]
    return sorted(pairs, key=lambda p: (-p.jaccard, -p.both, p.first, p.second))[:most]
