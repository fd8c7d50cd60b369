"""What the captions of a folder say, in numbers: which tags, how often, how long, how sure, how alike, how together."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bakehouse.captions.caption_files import CaptionFolder
from bakehouse.captions.similar_tags import NearMiss, near_misses, variants
from bakehouse.captions.word_rules import vague_tags
from bakehouse.data.tag_vocabulary import TagVocabulary
from bakehouse.data.tags import BARRIER, form_of, key, split_caption

LIMITS = (75, 150, 225)
"""Tokens that one, two and three chunks of a CLIP text encoder hold. What is past the last is never read."""
WEAK = 1000
"""A tag with fewer pictures than this is known to the base model, but weakly."""
_MOST_PAIRS = 200
"""Tags, the most frequent ones, among which pairs are looked for."""
_FEW = 3
"""Captions that a pair must share to be told."""

CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""How many tokens each caption has, without begin and end marks."""


@dataclass(frozen=True)
class Pair:
    """Two tags that stand together."""

    first: str
    second: str
    both: int
    """Captions with both."""
    jaccard: float
    """Of the captions with one of them, the share with both: 1.0 is never one without the other."""


@dataclass(frozen=True)
class Longest:
    """A caption that is longer than a chunk."""

    path: str
    tokens: int
    past: str
    """What stands past the chunks that are read (75 tokens): the tags from there on, or the last words."""


@dataclass(frozen=True)
class CaptionStats:
    """Numbers of a folder's captions."""

    images: int
    without: int
    """Images without a caption, or with an empty one."""
    captions: int
    """Lines, that is captions; a file may have several."""
    sentences: int
    """Captions that have sentences in them; their words are not counted as tags."""
    frequency: Mapping[str, int]
    """Captions with a tag, the most frequent first, as it is spelled most often."""
    lengths: Mapping[int, int]
    """Captions by their number of tags."""
    tokens: Mapping[str, int]
    """Captions by the chunks they need: up to `75`, `150`, `225`, and `more`. Empty without a tokenizer."""
    longest: tuple[Longest, ...]
    """Captions past the first chunk, the longest first."""
    unknown: tuple[str, ...]
    """Tags that the vocabulary has not; None of them without a vocabulary."""
    weak: Mapping[str, int]
    """Tags that the vocabulary has, with fewer than 1,000 pictures."""
    vague: tuple[str, ...]
    """Tags that say too little: which armor, what kind of bow?"""
    spellings: Mapping[str, tuple[str, ...]]
    """One tag in several spellings: `blue hair` also as `Blue_Hair`."""
    near: tuple[NearMiss, ...]
    """Tags that are probably mistyped."""
    pairs: tuple[Pair, ...]
    """Tags that stand together most, the closest first; what stands in every caption is left out."""
    files: Mapping[str, int]
    """Files that were read, by their endings: raw tags (`.tags`) come before the caption that is compiled of them."""
    notes: tuple[str, ...] = ()
    """Of encodings and lines."""

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def caption_stats(
    folder: CaptionFolder, *, vocabulary: TagVocabulary | None = None, count_tokens: CountTokens | None = None
) -> CaptionStats:
    """Counts the captions of a folder.

    Args:
        folder: read by `read_folder`.
        vocabulary: of the base model, for unknown and weak tags.
        count_tokens: of the base model, for the lengths.
    """
    lines = [(str(file.name), line) for file in folder.captions for line in file.captions]
    listed = [split_caption(line) for _, line in lines if form_of(line) == "tags"]
    written = Counter(tag for tags in listed for tag in set(tags) if tag != BARRIER)
    counts, spellings = variants(written, listed)
    sizes = list(count_tokens([line for _, line in lines])) if count_tokens is not None else []
    keys = {key(tag): tag for tag in counts}
    vague = vague_tags()
    return CaptionStats(
        images=len(folder.images),
        without=sum(1 for file in folder.images.values() if file is None or not file.captions),
        captions=len(lines),
        sentences=len(lines) - len(listed),
        frequency=dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))),
        lengths=dict(sorted(Counter(map(len, listed)).items())),
        tokens=_chunks(sizes),
        longest=_longest(lines, sizes, count_tokens),
        unknown=tuple(tag for tag in counts if vocabulary is not None and not vocabulary.knows(tag)),
        weak=_weak(counts, vocabulary),
        vague=tuple(tag for k, tag in keys.items() if k in vague),
        spellings=spellings,
        near=tuple(near_misses(counts, vocabulary)),
        pairs=tuple(_pairs(listed, counts)),
        files=dict(sorted(Counter(file.path.suffix.lower() for file in folder.captions).items())),
        notes=folder.notes,
    )


def _chunks(sizes: Sequence[int]) -> dict[str, int]:
    if not sizes:
        return {}
    names = [*map(str, LIMITS), "more"]
    counts = Counter(next((str(limit) for limit in LIMITS if n <= limit), "more") for n in sizes)
    return {name: counts[name] for name in names}


def _longest(lines: Sequence[tuple[str, str]], sizes: Sequence[int], count: CountTokens | None) -> tuple[Longest, ...]:
    over = sorted(
        ((n, path, line) for (path, line), n in zip(lines, sizes, strict=False) if n > LIMITS[0]), reverse=True
    )
    return tuple(Longest(path, n, _past(line, count)) for n, path, line in over) if count is not None else ()


def _past(line: str, count: CountTokens) -> str:
    """What is behind the 75th token: whole tags, or words where there are no commas."""
    separator = ", " if "," in line else " "
    parts = split_caption(line) if "," in line else line.split()
    return separator.join(parts[_fitting(parts, separator, count) :])


def _fitting(parts: Sequence[str], separator: str, count: CountTokens) -> int:
    """How many parts fit into the first chunk; doubled, then halved, so that a huge caption is not counted whole."""

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


def _pairs(listed: Sequence[Sequence[str]], counts: Mapping[str, int], most: int = 20) -> list[Pair]:
    """The closest pairs among frequent tags."""
    everywhere = {key(tag) for tag, n in counts.items() if n == len(listed)}
    frequent = [tag for tag, n in sorted(counts.items(), key=lambda e: (-e[1], e[0])) if key(tag) not in everywhere]
    names = {key(tag): tag for tag in frequent[:_MOST_PAIRS]}
    places = {k: i for i, k in enumerate(names)}
    together: Counter[tuple[str, str]] = Counter()
    for tags in listed:
        there = sorted({k for tag in tags if (k := key(tag)) in names}, key=places.__getitem__)
        together.update(itertools.combinations(there, 2))
    pairs = [
        Pair(names[a], names[b], n, n / (counts[names[a]] + counts[names[b]] - n))
        for (a, b), n in together.items()
        if n >= _FEW
    ]
    return sorted(pairs, key=lambda p: (-p.jaccard, -p.both, p.first, p.second))[:most]
