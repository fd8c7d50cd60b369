"""Prior drift: how much the class without the trigger changed, by pairs of images of the same prompt and seed."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bakehouse.evaluation.metrics import (
    BOOTSTRAP_DRAWS,
    UNKNOWN,
    Attributes,
    Floats,
    Interval,
    attribute_frequencies,
    attribute_share,
    mean_interval,
    nan_if_null,
    null_if_nan,
    trimmed_mean_interval,
)

MIN_GAP = 0.1
"""Whitened cosine: with a smaller gap the embedding cannot tell the base's images from the subject's."""


@dataclass(frozen=True)
class Drift:
    """Change of the class without the trigger, relative to the base with the same prompts and seeds; all in points."""

    points: Interval
    """The largest of likeness, attributes and prompt, at least 0; each end of the interval is the largest of theirs."""
    likeness: Interval
    """How far class images moved towards the subject: 100 = they became the subject. Trimmed mean."""
    attributes: Interval
    """Mean increase of how often class images show the subject's attributes."""
    each: Mapping[str, float]
    """The increase for each attribute."""
    prompt: Interval
    """Loss of prompt accuracy on class and other-class prompts."""
    shift: Interval
    """Class shift, the distance that class images moved in any direction: 100 = the distance from base to subject."""
    clearest: int | None = None
    """Index of the image that changed most, class images first, then those of another class; None if none did."""

    def to_json(self) -> dict[str, Any]:
        figures = {name: getattr(self, name).to_json() for name in _FIGURES}
        each = {k: null_if_nan(v) for k, v in self.each.items()}
        return figures | {"each": each, "clearest": self.clearest}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Drift:
        each = {k: nan_if_null(v) for k, v in value["each"].items()}
        figures = {name: Interval.from_json(value[name]) for name in _FIGURES}
        return Drift(each=each, clearest=value["clearest"], **figures)


_FIGURES = ("points", "likeness", "attributes", "prompt", "shift")


@dataclass(frozen=True)
class DriftInput:
    """Scores of the images between which drift is measured, in one order."""

    similarity: Floats
    """Whitened cosine to the subject's images [N]."""
    embeddings: Floats
    """[N, D]."""
    prompt: Floats
    """Prompt fidelity [N]."""
    attributes: Sequence[Attributes] = ()
    """Attributes of each image; empty if the scorer detects none."""


def drift(
    after: DriftInput,
    before: DriftInput,
    *,
    similarity_gap: float,
    embedding_distance: float,
    attributes: Attributes,
    requested: Sequence[Collection[str]] | None = None,
    prompt_scale: float = 1.0,
    seed: int = 0,
) -> Drift:
    """Measure prior drift (DreamBooth's PRES, and language drift) as differences between pairs of images.

    Args:
        after: the class images with the adapter.
        before: the base's images for the same prompts and seeds.
        similarity_gap: the similarity of the subject's own images less that of the base's images of the class.
        embedding_distance: distance between the mean embedding of the base's images and that of the references.
        attributes: the subject's attributes.
        requested: the groups that each prompt asks for; showing them is no drift.
        prompt_scale: the range of prompt scores, by which they are divided (1 for a tagger).
        seed: seed of the bootstrap.
    """
    unknown = np.full(len(after.similarity), math.nan)
    to_subject = (after.similarity - before.similarity) / similarity_gap if similarity_gap >= MIN_GAP else unknown
    # Single images change a lot by chance, hence the trimmed mean. Shares are bounded, and a leak into few images is
    # what they must show, hence the plain one.
    like = trimmed_mean_interval(to_subject, seed=seed).scaled(100)
    each: dict[str, float] = {}
    increase = unknown
    if attributes and after.attributes and before.attributes:
        shares = [attribute_share(images.attributes, attributes, requested) for images in (after, before)]
        increase = shares[0] - shares[1]
        now, then = (attribute_frequencies(images.attributes, attributes) for images in (after, before))
        each = {g: 100 * (now[g] - then[g]) for g in attributes}
    leak = mean_interval(increase, seed=seed).scaled(100)
    lost = (before.prompt - after.prompt) / prompt_scale if prompt_scale > 0 else unknown
    prompt = mean_interval(lost, seed=seed).scaled(100)
    shift = UNKNOWN
    if embedding_distance > 0:
        shift = mean_shift(after.embeddings - before.embeddings, seed=seed).scaled(100 / embedding_distance)
    return Drift(largest(like, leak, prompt), like, leak, each, prompt, shift, _clearest(to_subject, increase, lost))


def mean_shift(differences: ArrayLike, *, seed: int = 0, draws: int = BOOTSTRAP_DRAWS) -> Interval:
    """Return the length of the mean of `differences` [N, D], less the length expected by chance.

    |mean d|² is too large by the variance of d over N; the mean of d_i · d_j over pairs i != j is unbiased (a
    U-statistic, Hoeffding 1948). Images that changed in unrelated directions give 0, in one direction they do not.
    """
    d = np.asarray(differences, dtype=np.float64)
    n = len(d)
    if n < 2:
        return UNKNOWN
    products = d @ d.T
    np.fill_diagonal(products, 0.0)
    rows = np.random.default_rng(seed).integers(0, n, (draws, n))
    counts = np.stack([np.bincount(row, minlength=n) for row in rows]).astype(np.float64)
    counts = counts[(counts > 0).sum(axis=1) > 1]
    sums = np.einsum("bi,ij,bj->b", counts, products, counts, optimize=True)
    squares = sums / (n * n - np.square(counts).sum(axis=1))
    low, high = np.percentile(squares, (2.5, 97.5))
    middle = products.sum() / (n * (n - 1))
    value, least, most = (math.sqrt(max(0.0, float(v))) for v in (middle, low, high))
    return Interval(value, least, most, n)


def largest(*parts: Interval) -> Interval:
    """Return the largest of the known figures, at least 0: its value, and the largest of all lower and upper ends.

    So it is above a limit if one of them is, and below it only if all are.
    """
    known = [p for p in parts if not math.isnan(p.value)]
    if not known:
        return UNKNOWN
    value, low, high = (max(0.0, *(getattr(p, end) for p in known)) for end in ("value", "low", "high"))
    return Interval(value, low, high, max(p.n for p in known))


def _clearest(*changes: Floats) -> int | None:
    """Return the index of the image with the largest change of any kind [N]; None if nothing increased."""
    each = np.nan_to_num(np.stack(changes), nan=-math.inf).max(axis=0)
    return int(each.argmax()) if len(each) and each.max() > 0 else None
