"""Tag predictions, and the protocol of taggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

MIN_SCORE = 0.05
"""Lower scores are not stored."""

Scores = Mapping[str, Mapping[str, float]]
"""Probabilities 0..1 by category and tag."""


@dataclass(frozen=True)
class TagPrediction:
    """The prediction of one tagger for one image. It is cached, so that other thresholds need no new inference."""

    text: str = ""
    """The caption, for captioners."""
    scores: Scores = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the prediction as it is cached."""
        scores = {c: {tag: round(p, 4) for tag, p in tags.items()} for c, tags in self.scores.items() if tags}
        return {k: v for k, v in (("text", self.text), ("scores", scores)) if v}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TagPrediction:
        """Return the prediction of a cached value."""
        return cls(value.get("text", ""), value.get("scores", {}))


class Tagger(Protocol):
    """Predicts the tags of images."""

    name: str
    """For messages."""
    key: str
    """Cache key: changes with everything that changes predictions (weights, preprocessing, settings)."""
    thresholds: Mapping[str, float]
    """Default thresholds by category."""

    def predict(self, images: Sequence[Image.Image]) -> list[TagPrediction]:
        """Return one prediction per RGB image of any size (the slow part)."""
        ...

    def to_tags(self, prediction: TagPrediction, thresholds: Mapping[str, float]) -> list[str]:
        """Return the tags that reach their category's threshold, the most likely first, or one sentence.

        Tags are in the model's spelling.

        Args:
            prediction: of this tagger.
            thresholds: by category; categories without one are left out.
        """
        ...


def most_likely_first(scores: Scores, thresholds: Mapping[str, float]) -> list[str]:
    """Return tags by category in the order of `thresholds`, by falling score within one; ties alphabetically."""
    out: list[str] = []
    for category, least in thresholds.items():
        chosen = [(tag, p) for tag, p in scores.get(category, {}).items() if p >= least]
        out += [tag for tag, _ in sorted(chosen, key=lambda entry: (-entry[1], entry[0]))]
    return out
