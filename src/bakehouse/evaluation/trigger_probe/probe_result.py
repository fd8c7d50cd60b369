"""What was measured of a word, and what it comes to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from bakehouse.data.tag_groups import plain

Verdict = Literal["free", "weak", "collides", "known", "unclear"]

WEAK_FROM = 1 / 3
"""Reach: from here on a word is not free."""
KNOWN_FROM = 2 / 3
"""Reach: from here on a base is moved as by a word that it was taught."""
COLLIDES_FROM = 0.3
"""Cosine of two differences in noise space: from here on one word draws what the other does."""
HEEDS_FROM = 0.75
"""Of pairs: a base that is not moved further by known words than by rare ones in so many cannot be asked."""
HELPS_FROM = 0.5
"""Cosine with what the class word does alone: from here on what a word means is a sort of the class."""
_NOTHING = 1e-12


@dataclass(frozen=True)
class Kin:
    """Another word, and how alike the two are."""

    word: str
    cosine: float


@dataclass(frozen=True)
class Scale:
    """How far a base is moved by words that it should not know and by words that it was taught; at least one each."""

    rare: Sequence[float]
    """Shifts of rare words of as many pieces."""
    known: Sequence[float]

    def share(self, shift: float) -> float:
        """Of what a known word does."""
        return shift / max(median(self.known), _NOTHING)

    def reach(self, shift: float) -> float:
        """Where a shift stands on the way from rare words (0) to known ones (1), by logarithms of the medians.

        By logarithms, since shifts spread over factors: known words differ among each other tenfold.
        """
        low, high, at = (math.log(max(x, _NOTHING)) for x in (median(self.rare), median(self.known), shift))
        return (at - low) / (high - low) if high > low else math.nan

    def p(self, shift: float) -> float:
        """How often a rare word moves the base as far: (1 + those that do) / (1 + all), a permutation p-value."""
        return (1 + sum(r >= shift for r in self.rare)) / (1 + len(self.rare))


@dataclass(frozen=True)
class Reading:
    """One word."""

    word: str
    verdict: Verdict
    why: str
    """The verdict as one sentence."""
    pieces: tuple[str, ...]
    shift: float
    """RMS by which the base's prediction moves when the word is put before the class word."""
    share: float
    """The shift in that of the median known word."""
    reach: float
    """0: as far as rare words of as many pieces move it, 1: as far as known ones; NaN where those are not further."""
    p: float
    """How often rare words move it as far."""
    neighbours: tuple[Kin, ...]
    """The nearest known words to the text encoder."""
    collides: tuple[Kin, ...] = ()
    """Known words that move the prediction the same way; looked for where the word is not free."""
    of_class: float | None = None
    """Cosine of what the word alone draws and what the class word alone draws; where the word is not free."""

    @property
    def taken(self) -> bool:
        """Whether the word should not be a trigger."""
        return self.verdict in ("known", "collides")

    @property
    def helps(self) -> bool:
        """Whether what the word means is a sort of the class: then it may do no harm."""
        return self.of_class is not None and self.of_class >= HELPS_FROM


@dataclass(frozen=True)
class Probe:
    """All words that were asked about, and how well the base could be asked."""

    base: str
    class_word: str
    vocabulary: str
    heeded: int
    """Pairs of a known and a rare word of as many pieces in which the known one moves the base further."""
    pairs: int
    rare: tuple[str, ...]
    """Rare words of two pieces that words are held against."""
    readings: tuple[Reading, ...]
    better: tuple[str, ...] = ()
    """Words that are free, where one that was asked about is not."""

    @property
    def taken(self) -> tuple[str, ...]:
        """Words that should not be triggers."""
        return tuple(r.word for r in self.readings if r.taken)

    def to_json(self) -> dict[str, Any]:
        """All of it; what is no number is null."""
        words = [{**dataclasses.asdict(r), "helps": r.helps} for r in self.readings]
        for word in words:
            word["reach"] = word["reach"] if math.isfinite(word["reach"]) else None
        return {**dataclasses.asdict(self), "readings": words}


def judge(reach: float, *, taught: bool, heeds: bool, collides: Sequence[Kin] = ()) -> Verdict:
    """The verdict on a word.

    Args:
        reach: see `Scale.reach`.
        taught: the base was taught this very word.
        heeds: known words move the base further than rare ones.
        collides: known words that move it the same way.
    """
    if taught:
        return "known"
    if not heeds or math.isnan(reach):
        return "unclear"
    if reach < WEAK_FROM:
        return "free"
    if collides:
        return "collides"
    return "known" if reach >= KNOWN_FROM else "weak"


def explain(reading: Reading, *, base: str, class_word: str, vocabulary: str, taught: bool) -> str:
    """A verdict as one sentence."""
    word, far = repr(reading.word), f"{reading.share:.0%} of what a known word does"
    if plain(reading.word) == plain(class_word):
        return f"{word} is known: it is the class word itself"
    helps = f"; it is a sort of {class_word!r} to {base}, which may even help" if reading.helps else ""
    match reading.verdict:
        case "free":
            return f"{word} is free: it moves {base} by {far}, as rare words do (p = {reading.p:.2g})"
        case "weak":
            return (
                f"{word} is half known: it moves {base} by {far}, and like no known word (p = {reading.p:.2g}){helps}"
            )
        case "collides":
            names = ", ".join(f"{k.word!r} ({k.cosine:.2f})" for k in reading.collides)
            return f"{word} collides with: {names}; it moves {base} by {far} (p = {reading.p:.2g}){helps}"
        case "known" if taught:
            return f"{word} is known: {base} was taught it ({vocabulary}), and it moves it by {far}{helps}"
        case "known":
            return f"{word} is known: it moves {base} by {far} (p = {reading.p:.2g}){helps}"
        case _:
            return f"nothing can be said of {word}: {base} is moved no further by known words than by rare ones"
