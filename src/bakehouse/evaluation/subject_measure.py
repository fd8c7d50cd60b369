"""Subject fidelity of an image: 0 is what the base generates from words alone, 1 the subject's own images.

It is the mean of parts that say something of this subject: whitened likeness, its attributes, its own marks. What the
base draws when all that captions and scorer can say of the subject is in the prompt is worth 0, so that a look-alike
is; images of other subjects say where an image begins to count as the subject.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bakehouse.evaluation import metrics as m
from bakehouse.evaluation.likeness import Whitening, fit_whitening, own_similarity
from bakehouse.evaluation.metrics import Floats, Interval
from bakehouse.evaluation.prior_drift import MIN_GAP
from bakehouse.evaluation.scored_images import ScoredImages

MIN_GAPS = {"likeness": MIN_GAP, "attributes": m.MIN_SHARE_GAP, "own marks": m.MIN_SHARE_GAP}
"""A part counts if it separates the subject's images from those of words alone by this much."""
LOWEST = -2.0
"""Scores are cut here: how unlike the subject an image is does not matter."""
SHOWN_FROM = 0.5
"""An image shows the subject half way from words alone to the subject's own images, or higher if impostors pass."""

Requested = Sequence[Collection[str]]
"""For each image the attribute groups that its prompt asks for."""


@dataclass(frozen=True)
class Part:
    """One part of subject fidelity with its scale."""

    zero: float
    """Mean of the images of words alone."""
    one: float
    """Mean of the subject's own images."""

    def scaled(self, raw: Floats) -> Floats:
        """Return values on the scale from 0 to 1."""
        values: Floats = (raw - self.zero) / (self.one - self.zero)
        return values

    def to_json(self) -> dict[str, float]:
        return {"words_alone": self.zero, "own": self.one}


@dataclass(frozen=True)
class SubjectMeasure:
    """What was learned of the subject from its photos and the base's images; it scores any images."""

    whitening: Whitening
    photos: Floats
    """Whitened embeddings of the training images [M, D]."""
    attributes: Mapping[str, str]
    """The subject's attributes that count."""
    parts: Mapping[str, Part]
    """The parts that count, by name."""
    own_likeness: float
    """Mean whitened cosine of the subject's own images."""

    def likeness(self, images: ScoredImages) -> Floats:
        """Return each image's whitened cosine to the subject's images [N]."""
        return m.similarity(self.whitening(images.embeddings), self.photos)

    def raw(self, images: ScoredImages, requested: Requested | None = None) -> dict[str, Floats]:
        """Return every part of each image, not scaled [N]."""
        shares = m.attribute_share(images.attributes, self.attributes, requested)
        marks = np.full(len(images), math.nan)
        if images.marks is not None and images.marks.shape[1]:
            marks = images.marks.mean(axis=1)
        return {"likeness": self.likeness(images), "attributes": shares, "own marks": marks}

    def of_parts(self, images: ScoredImages, requested: Requested | None = None) -> dict[str, Floats]:
        """Return the parts that count, from 0 to 1 [N]."""
        raw = self.raw(images, requested)
        return {name: np.clip(part.scaled(raw[name]), LOWEST, 1.0) for name, part in self.parts.items()}

    def scores(self, images: ScoredImages, requested: Requested | None = None) -> Floats:
        """Return subject fidelity of each image [N], at most 1; NaN if no part counts."""
        raw = self.raw(images, requested)
        return mean_of_parts([part.scaled(raw[name]) for name, part in self.parts.items()], len(images))


def mean_of_parts(parts: Sequence[Floats], count: int) -> Floats:
    """Return the mean of the known parts of each image [count], cut to `LOWEST`..1; NaN where none is known."""
    if not parts:
        return np.full(count, math.nan)
    values = np.stack(parts)
    known = ~np.isnan(values)
    total, number = np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0)
    means: Floats = np.clip(np.where(number > 0, total / np.maximum(number, 1), math.nan), LOWEST, 1.0)
    return means


@dataclass(frozen=True)
class Calibration:
    """How the measure scores images of which it is known whether they show the subject."""

    words_alone: Interval
    """Images that the base draws from words alone: 0 by construction."""
    class_images: Interval
    """The base's images of the class."""
    own: Interval
    """The subject's own images, held out from the measure."""
    impostors: Mapping[str, Interval] = field(default_factory=dict)
    """Images of other subjects, by their name."""
    highest: float = math.nan
    """95th percentile of all images that do not show the subject."""
    lowest_own: float = math.nan
    """5th percentile of the subject's own images."""
    shown_from: float = SHOWN_FROM
    """Score from which an image counts as showing the subject."""
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def margin(self) -> float:
        """Distance between the subject's images and all others; below 0 the measure mixes them up."""
        return self.lowest_own - self.highest

    def to_json(self) -> dict[str, Any]:
        figures = {name: getattr(self, name).to_json() for name in ("words_alone", "class_images", "own")}
        plain = {name: m.null_if_nan(getattr(self, name)) for name in ("highest", "lowest_own", "shown_from", "margin")}
        impostors = {name: figure.to_json() for name, figure in self.impostors.items()}
        return {**figures, **plain, "impostors": impostors, "parts": {k: p.to_json() for k, p in self.parts.items()}}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Calibration:
        words, of_class, own = (Interval.from_json(value[name]) for name in ("words_alone", "class_images", "own"))
        highest, lowest, shown = (m.nan_if_null(value[k]) for k in ("highest", "lowest_own", "shown_from"))
        impostors = {name: Interval.from_json(figure) for name, figure in value["impostors"].items()}
        parts = {name: Part(float(p["words_alone"]), float(p["own"])) for name, p in value["parts"].items()}
        return Calibration(words, of_class, own, impostors, highest, lowest, shown, parts)


@dataclass(frozen=True)
class KnownImages:
    """Images of which it is known whether they show the subject, from which the measure is made."""

    training: ScoredImages
    held_out: ScoredImages | None
    class_images: ScoredImages
    """The base's images of the class."""
    words_alone: ScoredImages
    """The base's images generated from the subject's description."""
    impostors: Mapping[str, ScoredImages]
    """Images of other subjects by name."""
    mixed: Collection[str]
    """Names of those that are of several subjects; they say nothing of the variation within one."""
    requested: Requested
    """The groups that the prompts of class images ask for; those of words alone have the same."""


def fit_measure(
    known: KnownImages, attributes: Mapping[str, str], *, seed: int = 0
) -> tuple[SubjectMeasure, Calibration]:
    """Make the measure of a subject, and say how it scores the images that it was made from.

    Args:
        known: photos and the base's images.
        attributes: the subject's attributes that may count.
        seed: seed of the bootstrap.
    """
    others = [known.words_alone.embeddings]
    others += [g.embeddings for name, g in known.impostors.items() if name not in known.mixed]
    class_images = known.class_images.embeddings
    training = known.training.embeddings
    whitening = fit_whitening([training, *others], class_images)
    measure = SubjectMeasure(whitening, whitening(training), attributes, {}, math.nan)
    if known.held_out is not None:
        own = measure.raw(known.held_out)
    else:
        own = {**measure.raw(known.training), "likeness": own_similarity(training, others, class_images)}
    requested = known.requested[: len(known.words_alone)]
    words = measure.raw(known.words_alone, requested)
    found = {name: Part(m.known_mean(words[name]), m.known_mean(own[name])) for name in own}
    parts = {name: part for name, part in found.items() if part.one - part.zero >= MIN_GAPS.get(name, 0.0)}
    measure = replace(measure, parts=parts, own_likeness=found["likeness"].one)

    own_scores = mean_of_parts([part.scaled(own[name]) for name, part in parts.items()], len(own["likeness"]))
    word_scores, class_scores = (measure.scores(i, known.requested) for i in (known.words_alone, known.class_images))
    impostors = {name: measure.scores(images) for name, images in known.impostors.items()}
    highest = _percentile(np.concatenate([word_scores, class_scores, *impostors.values()]), 95)
    return measure, Calibration(
        m.mean_interval(word_scores, seed=seed),
        m.mean_interval(class_scores, seed=seed),
        m.mean_interval(own_scores, seed=seed),
        {name: m.mean_interval(scores, seed=seed) for name, scores in impostors.items()},
        highest,
        _percentile(own_scores, 5),
        max(SHOWN_FROM, highest) if not math.isnan(highest) else SHOWN_FROM,
        parts,
    )


def _percentile(values: Floats, percent: float) -> float:
    known = values[~np.isnan(values)]
    return float(np.percentile(known, percent)) if len(known) else math.nan
