"""What a tagger sees in a picture, and what every tagger can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

MIN_SCORE = 0.05
"""Scores below are not kept."""

Scores = Mapping[str, Mapping[str, float]]
"""By category and tag: probabilities from 0 to 1."""


@dataclass(frozen=True)
class TagPrediction:
    """What one tagger sees in one picture. It is kept, so that other thresholds ask no model."""

    text: str = ""
    """A sentence, of captioners."""
    scores: Scores = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        scores = {c: {tag: round(p, 4) for tag, p in tags.items()} for c, tags in self.scores.items() if tags}
        return {k: v for k, v in (("text", self.text), ("scores", scores)) if v}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TagPrediction:
        """The inverse of `to_json`."""
        return cls(value.get("text", ""), value.get("scores", {}))


class Tagger(Protocol):
    """Looks at pictures and says what is in them."""

    name: str
    """For messages."""
    key: str
    """Changes with everything that changes what it sees: weights, input, settings."""
    thresholds: Mapping[str, float]
    """Its own, by category."""

    def look(self, images: Sequence[Image.Image]) -> list[TagPrediction]:
        """One sight for each RGB picture of any size. The slow part."""
        ...

    def words(self, sight: TagPrediction, thresholds: Mapping[str, float]) -> list[str]:
        """Tags that reach the threshold of their category, the surest first, or one sentence; as the model spells them.

        Args:
            thresholds: by category; what has none is not said.
        """
        ...


def most_likely_first(scores: Scores, thresholds: Mapping[str, float]) -> list[str]:
    """Tags by category in the order of `thresholds`, within one the surest first, ties by the alphabet."""
    out: list[str] = []
    for category, least in thresholds.items():
        said = [(tag, p) for tag, p in scores.get(category, {}).items() if p >= least]
        out += [tag for tag, _ in sorted(said, key=lambda entry: (-entry[1], entry[0]))]
    return out
