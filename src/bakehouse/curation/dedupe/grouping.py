"""Decide which copies to keep: within each group of similar images, the best copy of each; and group the variants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from bakehouse.curation.dedupe.best_copy import CopyQuality, rate_copy
from bakehouse.curation.dedupe.candidates import CropCandidate, Pair
from bakehouse.curation.dedupe.pair_matcher import PairMatch, PairMatcher


class ConnectedGroups:
    """The connected components of pairs of numbers (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def root(self, i: int) -> int:
        """Return the smallest number of the group of `i`."""
        parent = self._parent
        parent.setdefault(i, i)
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def connect(self, i: int, j: int) -> None:
        """Join the groups of two numbers."""
        a, b = sorted((self.root(i), self.root(j)))
        self._parent[b] = a

    def groups(self) -> list[list[int]]:
        """Return the groups, sorted."""
        found = defaultdict(list)
        for i in sorted(self._parent):
            found[self.root(i)].append(i)
        return list(found.values())


def connected_groups(pairs: Iterable[Pair]) -> list[list[int]]:
    """Return the connected components of the pairs, sorted."""
    groups = ConnectedGroups()
    for i, j in pairs:
        groups.connect(i, j)
    return groups.groups()


def partners(pairs: Iterable[Pair]) -> dict[int, list[int]]:
    """Return for each image the images that it is paired with."""
    found = defaultdict(list)
    for i, j in pairs:
        found[i].append(j)
        found[j].append(i)
    return dict(found)


@dataclass(frozen=True)
class VariantGroup:
    """Kept images that are variants of each other, each of at least one of the others."""

    members: tuple[int, ...]
    """Numbers of the images, the best copy first."""
    why: str


@dataclass
class DuplicateGrouping:
    """Matches between the images of a dataset, and which images to drop; images are given by their numbers."""

    matcher: PairMatcher
    pairs: dict[int, list[int]]
    """For each image the images to compare it with, as `partners` returns them."""
    recolored: dict[int, list[int]] = field(default_factory=dict)
    """The same for images that are no duplicates, but may be the same in other colours."""
    matches: dict[Pair, PairMatch] = field(default_factory=dict)
    """Matches by (kept image, other image), without different ones."""
    dropped: dict[int, int] = field(default_factory=dict)
    """For each dropped image the one that is kept instead."""
    cropped: set[int] = field(default_factory=set)
    """Images found to be crops."""
    ratings: dict[int, CopyQuality] = field(default_factory=dict)
    """Ranking properties of the images in groups."""

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
        found |= self._match_recolored(ratings, found, dropped)
        self.matches |= found
        self.dropped |= dropped
        self.ratings |= ratings

    def _resolved(self, ratings: dict[int, CopyQuality]) -> tuple[dict[Pair, PairMatch], dict[int, int]]:
        kept: dict[int, int] = {}
        found: dict[Pair, PairMatch] = {}
        dropped: dict[int, int] = {}
        for i in sorted(ratings, key=lambda i: ratings[i].key):
            own_matches: dict[Pair, PairMatch] = {}
            for keep in sorted((k for k in self.pairs.get(i, ()) if k in kept), key=kept.__getitem__):
                match = self.matcher.match(min(i, keep), max(i, keep))
                if match.kind == "duplicate":
                    why = f"{match.why} as {self._name(keep)}, which {ratings[keep].advantage_over(ratings[i])}"
                    own_matches, dropped[i] = {(keep, i): PairMatch("duplicate", why, match.text)}, keep
                    break
                if match.kind != "different":
                    own_matches[keep, i] = match
            else:
                kept[i] = len(kept)
            found |= own_matches
        return found, dropped

    def _match_recolored(
        self, ratings: dict[int, CopyQuality], found: dict[Pair, PairMatch], dropped: dict[int, int]
    ) -> dict[Pair, PairMatch]:
        """Return the matches in other colours that join groups of variants; within a group none is compared again.

        For a dropped copy the kept one is compared.
        """
        variants = ConnectedGroups()
        for (i, j), match in found.items():
            if match.kind == "variant":
                variants.connect(i, j)
        joined: dict[Pair, PairMatch] = {}
        for i in sorted(ratings, key=lambda i: ratings[i].key):
            for j in self.recolored.get(i, ()):
                a, b = sorted((dropped.get(i, i), dropped.get(j, j)), key=lambda one: ratings[one].key)
                if variants.root(a) == variants.root(b):
                    continue
                match = self.matcher.match_recolored(min(a, b), max(a, b))
                if match.kind == "variant":
                    joined[a, b] = match
                    variants.connect(a, b)
        return joined

    def variant_groups(self) -> list[VariantGroup]:
        """Return the groups of variants, each with the reason of its first match or a summary."""
        matches = {pair: match for pair, match in self.matches.items() if match.kind == "variant"}
        reasons = defaultdict(list)
        groups = connected_groups(matches)
        place = {i: k for k, group in enumerate(groups) for i in group}
        for (i, _), match in matches.items():
            reasons[place[i]].append(match)
        return [
            VariantGroup(tuple(sorted(group, key=lambda i: self.ratings[i].key)), _reason(len(group), reasons[k]))
            for k, group in enumerate(groups)
        ]

    def _name(self, i: int) -> str:
        return self.matcher.records[i].path.name

    def _with_text(self, pair: Pair, match: PairMatch) -> int | None:
        """Return the image of a pair that has text over it, if one has."""
        return {"first": min(pair), "second": max(pair), "": None}[match.text]

    # --- crops --------------------------------------------------------------------------------------------------------

    def untested_crops(self, candidates: Iterable[CropCandidate]) -> list[CropCandidate]:
        """Return the candidates between images that are both kept and do not match otherwise."""
        group = {i: k for k, group in enumerate(self._recolored_groups()) for i in group}
        return [
            (whole, part, windows)
            for whole, part, windows in candidates
            if not {whole, part} & self.dropped.keys()
            and (whole, part) not in self.matches
            and (part, whole) not in self.matches
            and group.get(whole, -1) != group.get(part, -2)
        ]

    def _recolored_groups(self) -> list[list[int]]:
        """Return the groups of images that differ in their colours; not all of their pairs were compared."""
        return connected_groups(pair for pair, match in self.matches.items() if match.recolored)

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


def _reason(images: int, matches: Sequence[PairMatch]) -> str:
    """Return why images are variants: the reason of two, a summary for more."""
    if images == 2:
        return matches[0].why
    kinds = {match.recolored for match in matches}
    how = "one place and in their colours" if len(kinds) == 2 else "their colours" if True in kinds else "one place"
    return f"one of {images:,} variants, which differ in {how}"
