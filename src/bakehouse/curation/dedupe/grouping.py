"""Decide which copies to keep: within each group of similar images, the best copy of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from bakehouse.curation.dedupe.best_copy import CopyQuality, rate_copy
from bakehouse.curation.dedupe.candidates import CropCandidate, Pair
from bakehouse.curation.dedupe.pair_matcher import PairMatch, PairMatcher


def connected_groups(pairs: Iterable[Pair]) -> list[list[int]]:
    """Return the connected components of the pairs (union-find), sorted."""
    parent: dict[int, int] = {}

    def root(i: int) -> int:
        parent.setdefault(i, i)
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        a, b = sorted((root(i), root(j)))
        parent[b] = a
    found = defaultdict(list)
    for i in sorted(parent):
        found[root(i)].append(i)
    return list(found.values())


@dataclass
class DuplicateGrouping:
    """Matches between the images of a dataset, and which images to drop; images are given by their numbers."""

    matcher: PairMatcher
    pairs: frozenset[Pair]
    """Pairs to compare."""
    matches: dict[Pair, PairMatch] = field(default_factory=dict)
    """Matches by (kept image, other image), without different ones."""
    dropped: dict[int, int] = field(default_factory=dict)
    """For each dropped image the one that is kept instead."""
    cropped: set[int] = field(default_factory=set)
    """Images found to be crops."""

    def resolve(self, group: Sequence[int]) -> None:
        """Resolve one group: from the best copy down, keep each image unless it duplicates one that is kept.

        Each dropped image was itself compared with the kept one, so a chain of small differences drops nothing.
        """
        ratings = {i: rate_copy(self.matcher.records[i], i) for i in group}
        found, dropped = self._resolved(ratings)
        if texts := {text for pair, j in found.items() if (text := self._with_text(pair, j)) is not None}:
            # Matches are cached, so resolving again is cheap.
            ratings |= {i: replace(ratings[i], clean=False) for i in texts}
            found, dropped = self._resolved(ratings)
        self.matches |= found
        self.dropped |= dropped

    def _resolved(self, ratings: dict[int, CopyQuality]) -> tuple[dict[Pair, PairMatch], dict[int, int]]:
        kept: list[int] = []
        found: dict[Pair, PairMatch] = {}
        dropped: dict[int, int] = {}
        for i in sorted(ratings, key=lambda i: ratings[i].key):
            own_matches: dict[Pair, PairMatch] = {}
            for keep in self._partners(i, kept):
                match = self.matcher.match(min(i, keep), max(i, keep))
                if match.kind == "duplicate":
                    why = f"{match.why} as {self._name(keep)}, which {ratings[keep].advantage_over(ratings[i])}"
                    own_matches, dropped[i] = {(keep, i): PairMatch("duplicate", why, match.text)}, keep
                    break
                if match.kind != "different":
                    own_matches[keep, i] = match
            else:
                kept.append(i)
            found |= own_matches
        return found, dropped

    def _partners(self, i: int, kept: Sequence[int]) -> Iterator[int]:
        return (k for k in kept if (min(i, k), max(i, k)) in self.pairs)

    def _name(self, i: int) -> str:
        return self.matcher.records[i].path.name

    def _with_text(self, pair: Pair, match: PairMatch) -> int | None:
        """Return the image of a pair that has text over it, if one has."""
        return {"first": min(pair), "second": max(pair), "": None}[match.text]

    # --- crops --------------------------------------------------------------------------------------------------------

    def untested_crops(self, candidates: Iterable[CropCandidate]) -> list[CropCandidate]:
        """Return the candidates between images that are both kept and do not match otherwise."""
        return [
            (whole, part, windows)
            for whole, part, windows in candidates
            if not {whole, part} & self.dropped.keys()
            and (whole, part) not in self.matches
            and (part, whole) not in self.matches
        ]

    def add_crop(self, whole: int, part: int, match: PairMatch, *, drop: bool) -> None:
        """Record the first whole image of a crop. With `drop`, drop the crop if it is unchanged and not enlarged.

        If the whole image only adds a border to the crop, the whole image is dropped instead.
        """
        if match.kind != "near" or part in self.cropped or (part, whole) in self.matches:
            return
        if drop and match.bordered and not {whole, part} & self.dropped.keys():
            why = f"same image as {self._name(part)}, with a border"
            self.matches[part, whole] = PairMatch("duplicate", why)
            self.dropped[whole] = part
            return
        self.matches[whole, part] = match
        self.cropped.add(part)
        if drop and match.plain and whole not in self.dropped:
            self.dropped[part] = whole
