"""Results of a probe: the figures of each word, its verdict and the sentence that explains it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from bakehouse.core.message_text import listed
from bakehouse.data.tag_groups import plain

Verdict = Literal["free", "weak", "collides", "known", "unclear"]

WEAK_REACH = 1 / 3
"""Reach from which a word is not free."""
KNOWN_REACH = 2 / 3
"""Reach from which a word shifts a base like a word that it was trained on."""
COLLIDES_COSINE = 0.3
"""Cosine of two prediction differences from which one word generates what the other does."""
RESPONSIVE_SHARE = 0.75
"""Share of pairs in which the known word must shift the base further than the rare one; below, no verdict is given."""
SAME_CLASS_COSINE = 0.5
"""Cosine with the effect of the class word alone from which a word is a kind of the class."""
_TINY = 1e-12


@dataclass(frozen=True)
class SimilarWord:
    """Another word and the cosine between the two."""

    word: str
    cosine: float


@dataclass(frozen=True)
class ShiftScale:
    """Shifts of rare words, which a base should not know, and of known words; at least one of each."""

    rare: Sequence[float]
    """Shifts of rare words of as many tokens."""
    known: Sequence[float]

    def share(self, shift: float) -> float:
        """Return a shift as a share of the median known word's."""
        return shift / max(median(self.known), _TINY)

    def reach(self, shift: float) -> float:
        """Return where a shift lies between the medians of rare (0) and known words (1), on a logarithmic scale.

        Logarithmic, since shifts span orders of magnitude: those of known words differ by a factor of ten.
        """
        low, high, at = (math.log(max(x, _TINY)) for x in (median(self.rare), median(self.known), shift))
        return (at - low) / (high - low) if high > low else math.nan

    def p(self, shift: float) -> float:
        """Return the permutation p-value of a shift among rare words: (1 + those as large) / (1 + all)."""
        return (1 + sum(r >= shift for r in self.rare)) / (1 + len(self.rare))


@dataclass(frozen=True)
class WordResult:
    """The figures and the verdict of one word."""

    word: str
    verdict: Verdict
    why: str
    """The verdict as one sentence."""
    pieces: tuple[str, ...]
    """The word's tokens."""
    shift: float
    """RMS by which the base's prediction moves when the word is put before the class word."""
    share: float
    """The shift as a share of the median known word's."""
    reach: float
    """0: as far as rare words of as many tokens, 1: as far as known words; NaN if those are no further."""
    p: float
    """How often rare words shift as far."""
    nearest: tuple[SimilarWord, ...]
    """The nearest known words in the text encoder's space."""
    collides: tuple[SimilarWord, ...] = ()
    """Known words that move the prediction the same way; only searched if the word is not free."""
    class_cosine: float | None = None
    """Cosine between the effects of the word alone and the class word alone; only if the word is not free."""

    @property
    def is_unsuitable(self) -> bool:
        """Whether the word should not be a trigger."""
        return self.verdict in ("known", "collides")

    @property
    def is_kind_of_class(self) -> bool:
        """Whether the word's meaning is a kind of the class, which may do no harm."""
        return self.class_cosine is not None and self.class_cosine >= SAME_CLASS_COSINE

    def to_json(self) -> dict[str, Any]:
        """Return plain values; NaN is null."""
        value = dataclasses.asdict(self)
        value["reach"] = self.reach if math.isfinite(self.reach) else None
        value["neighbours"], value["of_class"] = value.pop("nearest"), value.pop("class_cosine")
        return {**value, "helps": self.is_kind_of_class}


@dataclass(frozen=True)
class ProbeResult:
    """The results of all probed words, and how well the base responds to words."""

    base: str
    class_word: str
    vocabulary: str
    responsive_pairs: int
    """Pairs of a known and a rare word of as many tokens in which the known one shifts the base further."""
    pairs: int
    rare: tuple[str, ...]
    """Rare words of two tokens that served as controls."""
    words: tuple[WordResult, ...]
    better: tuple[str, ...] = ()
    """Free words to use instead, if one of the probed words is not free."""

    @property
    def unsuitable(self) -> tuple[str, ...]:
        """The words that should not be triggers."""
        return tuple(r.word for r in self.words if r.is_unsuitable)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; NaN is null."""
        return {
            "base": self.base,
            "class_word": self.class_word,
            "vocabulary": self.vocabulary,
            "heeded": self.responsive_pairs,
            "pairs": self.pairs,
            "rare": self.rare,
            "readings": [r.to_json() for r in self.words],
            "better": self.better,
        }


def classify(reach: float, *, taught: bool, responsive: bool, collides: Sequence[SimilarWord] = ()) -> Verdict:
    """Return the verdict on a word.

    Args:
        reach: see `ShiftScale.reach`.
        taught: the base was certainly trained on this word.
        responsive: known words shift the base further than rare ones.
        collides: known words that move the prediction the same way.
    """
    if taught:
        return "known"
    if not responsive or math.isnan(reach):
        return "unclear"
    if reach < WEAK_REACH:
        return "free"
    if collides:
        return "collides"
    return "known" if reach >= KNOWN_REACH else "weak"


def explain(result: WordResult, *, base: str, class_word: str, vocabulary: str, taught: bool) -> str:
    """Return a verdict as one sentence."""
    word, shift = repr(result.word), f"it shifts {base} by {result.share:.0%} of a known word's shift"
    if plain(result.word) == plain(class_word):
        return f"{word} is known: it is the class word"
    p = f"(p = {result.p:.2g})"
    helps = f"; to {base} it is a kind of {class_word!r}, which may even help" if result.is_kind_of_class else ""
    match result.verdict:
        case "free":
            return f"{word} is free: {shift}, no more than rare words {p}"
        case "weak":
            return f"{word} is partly known: {shift}, but in the direction of no known word {p}{helps}"
        case "collides":
            names = listed([f"{k.word!r} ({k.cosine:.2f})" for k in result.collides])
            return f"{word} collides with {names}: {shift} in the same direction {p}{helps}"
        case "known" if taught:
            return f"{word} is known: {base} was trained on it ({vocabulary}); {shift}{helps}"
        case "known":
            return f"{word} is known: {shift} {p}{helps}"
        case _:
            return f"{word} is unclear: known words shift {base} no further than rare ones"
