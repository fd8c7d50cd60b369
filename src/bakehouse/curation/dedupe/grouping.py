"""From judged pairs to what stays: within a group of look-alikes, the best copy of each picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from bakehouse.curation.dedupe.best_copy import CopyQuality, rate_copy
from bakehouse.curation.dedupe.candidates import CropCandidate, Pair
from bakehouse.curation.dedupe.pair_matcher import PairMatch, PairMatcher


def connected_groups(pairs: Iterable[Pair]) -> list[list[int]]:
    """Numbers that pairs connect, directly or through others (union-find); each group and the list in order."""
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
    """What was found of the images of a dataset, by their numbers."""

    judge: PairMatcher
    pairs: frozenset[Pair]
    """Those that are looked at side by side."""
    found: dict[Pair, PairMatch] = field(default_factory=dict)
    """(the one that stays, the other): all but the different ones."""
    dropped: dict[int, int] = field(default_factory=dict)
    """Which one stays in the place of each that goes."""
    cropped: set[int] = field(default_factory=set)
    """Those whose whole was found."""

    def settle(self, group: Sequence[int]) -> None:
        """Decides for one group. From the best copy down, each stays unless it is one over again that stays already.

        So whatever goes was itself compared with the one that stays: a chain of small differences drops nothing.
        """
        standings = {i: rate_copy(self.judge.records[i], i) for i in group}
        found, dropped = self._settled(standings)
        if texts := {text for pair, j in found.items() if (text := self._with_text(pair, j)) is not None}:
            # Judgements are remembered, so that deciding again costs nothing.
            standings |= {i: replace(standings[i], clean=False) for i in texts}
            found, dropped = self._settled(standings)
        self.found |= found
        self.dropped |= dropped

    def _settled(self, standings: dict[int, CopyQuality]) -> tuple[dict[Pair, PairMatch], dict[int, int]]:
        kept: list[int] = []
        found: dict[Pair, PairMatch] = {}
        dropped: dict[int, int] = {}
        for i in sorted(standings, key=lambda i: standings[i].key):
            seen: dict[Pair, PairMatch] = {}
            for keep in self._partners(i, kept):
                judged = self.judge.same(min(i, keep), max(i, keep))
                if judged.verdict == "duplicate":
                    why = f"{judged.why} as {self._name(keep)}, which {standings[keep].over(standings[i])}"
                    seen, dropped[i] = {(keep, i): PairMatch("duplicate", why, judged.text)}, keep
                    break
                if judged.verdict != "different":
                    seen[keep, i] = judged
            else:
                kept.append(i)
            found |= seen
        return found, dropped

    def _partners(self, i: int, kept: Sequence[int]) -> Iterator[int]:
        return (k for k in kept if (min(i, k), max(i, k)) in self.pairs)

    def _name(self, i: int) -> str:
        return self.judge.records[i].path.name

    def _with_text(self, pair: Pair, judged: PairMatch) -> int | None:
        """The image of a pair that has text over it."""
        return {"first": min(pair), "second": max(pair), "": None}[judged.text]

    # --- crops --------------------------------------------------------------------------------------------------------

    def open_crops(self, candidates: Iterable[CropCandidate]) -> list[CropCandidate]:
        """Of pictures and likely windows of them, those between images that both stay and were not found alike."""
        return [
            (whole, part, windows)
            for whole, part, windows in candidates
            if not {whole, part} & self.dropped.keys()
            and (whole, part) not in self.found
            and (part, whole) not in self.found
        ]

    def add_crop(self, whole: int, part: int, judged: PairMatch, *, drop: bool) -> None:
        """Notes the first whole of a crop; the crop goes only if nothing changed in it and it shows no more.

        A whole that is the crop with a border around it goes instead.
        """
        if judged.verdict != "near" or part in self.cropped or (part, whole) in self.found:
            return
        if drop and judged.bordered and not {whole, part} & self.dropped.keys():
            why = f"the same picture as {self._name(part)}, with a border around it"
            self.found[part, whole] = PairMatch("duplicate", why)
            self.dropped[whole] = part
            return
        self.found[whole, part] = judged
        self.cropped.add(part)
        if drop and judged.plain and whole not in self.dropped:
            self.dropped[part] = whole
