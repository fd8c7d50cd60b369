"""Scores of one cell, a checkpoint at a strength, computed from what the scorer measured beside the untouched base."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bakehouse.evaluation import metrics as m
from bakehouse.evaluation.metrics import Drift, Floats, Interval, NearCopies

SHOWN_FROM = 0.5
"""Subject score from which an image counts as showing the subject: half way from the base to the subject's images."""


@dataclass(frozen=True)
class ScoredImages:
    """What the scorer measured on N images, in their order."""

    embeddings: Floats
    """[N, D], unit length."""
    prompt: Floats
    """Prompt scores [N]; NaN where a prompt asks for nothing that can be scored."""
    attributes: Sequence[Mapping[str, str]]
    small: Floats
    """Pixels of small copies [N, P], see `metrics.small_pixels`."""

    def first(self, count: int) -> ScoredImages:
        """Return the first `count` images."""
        return ScoredImages(self.embeddings[:count], self.prompt[:count], self.attributes[:count], self.small[:count])

    def __len__(self) -> int:
        return len(self.embeddings)


@dataclass(frozen=True)
class ScoredSeries:
    """The three series of images of a cell: subject, class and another class."""

    subject: ScoredImages
    class_images: ScoredImages
    other: ScoredImages


@dataclass(frozen=True)
class References:
    """The subject's own images: those it was trained on, and those that generated images are compared with."""

    training: ScoredImages
    compared: ScoredImages
    """Held-out images if there are any, else the training images."""
    held_out: bool
    attributes: Mapping[str, str]
    """The subject's attributes."""

    @property
    def similarity(self) -> float:
        """Mean similarity of the compared images with each other; of a single one, with the training images."""
        among = m.self_similarity(self.compared.embeddings)
        if not math.isnan(among):
            return among
        across = m.similarity(self.compared.embeddings, self.training.embeddings)
        return float(across.mean()) if self.held_out and len(across) else math.nan

    @property
    def attribute_share(self) -> float:
        """Share of the subject's attributes that the scorer detects in the subject's own images; some are missed."""
        return _mean(m.attribute_share(self.compared.attributes, self.attributes))


@dataclass(frozen=True)
class BaseScores:
    """Scores of the untouched base on the class prompts, the reference point of every cell."""

    similarity: float
    """Mean cosine to the references: subject fidelity 0."""
    reference_similarity: float
    """Mean cosine of the references with each other: subject fidelity 1."""
    prompt: Interval
    floor: float
    """Mean prompt score for prompts that do not belong to the image."""
    diversity: Interval
    attributes: Mapping[str, float]
    """How often the base shows each of the subject's attributes."""
    images: int

    def to_json(self) -> dict[str, Any]:
        return {
            "similarity": _null_if_nan(self.similarity),
            "real": _null_if_nan(self.reference_similarity),
            "prompt": self.prompt.to_json(),
            "floor": self.floor,
            "diversity": self.diversity.to_json(),
            "attributes": dict(self.attributes),
            "images": self.images,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> BaseScores:
        return BaseScores(
            _nan_if_null(value["similarity"]),
            _nan_if_null(value["real"]),
            Interval.from_json(value["prompt"]),
            float(value["floor"]),
            Interval.from_json(value["diversity"]),
            dict(value["attributes"]),
            int(value["images"]),
        )


@dataclass(frozen=True)
class ScoredCheckpoint:
    """Scores of one checkpoint at one strength, a cell of the report's grid; shares are from 0 to 1."""

    weights: str
    """The weights file, relative to the run folder."""
    strength: float
    epoch: int
    images: int
    """Number of subject images that were scored; as many of the class."""
    fidelity: Interval
    """Subject fidelity: mean of likeness by embedding and by attributes; 0 is the base, 1 the subject's own images."""
    shown: Interval
    """Share of images whose subject score is at least `SHOWN_FROM`."""
    likeness: Interval
    similarity: Interval
    """Mean cosine to the references: DINO or CLIP-I of the literature."""
    attributes: Mapping[str, float]
    """How often each of the subject's attributes shows."""
    prompt: Interval
    prompt_retention: float
    """Prompt fidelity as a share of the base's, same prompts and seeds."""
    diversity: Interval
    drift: Drift
    near_copies: NearCopies
    epoch_unit: str = "epoch"
    """What `epoch` counts: `step` if the run saved by steps only."""

    @property
    def epoch_times_strength(self) -> float:
        """How much the adapter changes the base, roughly; of equally good cells the one with the least is picked."""
        return self.epoch * self.strength

    def to_json(self) -> dict[str, Any]:
        return {
            "weights": self.weights,
            "weight": self.strength,
            "epoch": self.epoch,
            "unit": self.epoch_unit,
            "images": self.images,
            "fidelity": self.fidelity.to_json(),
            "shown": self.shown.to_json(),
            "likeness": self.likeness.to_json(),
            "similarity": self.similarity.to_json(),
            "attributes": {k: _null_if_nan(v) for k, v in self.attributes.items()},
            "prompt": self.prompt.to_json(),
            "kept": _null_if_nan(self.prompt_retention),
            "diversity": self.diversity.to_json(),
            "drift": self.drift.to_json(),
            "memorised": self.near_copies.to_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ScoredCheckpoint:
        figures = ("fidelity", "shown", "likeness", "similarity")
        fidelity, shown, likeness, similarity = (Interval.from_json(value[name]) for name in figures)
        return ScoredCheckpoint(
            weights=str(value["weights"]),
            strength=float(value["weight"]),
            epoch=int(value["epoch"]),
            images=int(value["images"]),
            fidelity=fidelity,
            shown=shown,
            likeness=likeness,
            similarity=similarity,
            attributes={k: _nan_if_null(v) for k, v in value["attributes"].items()},
            prompt=Interval.from_json(value["prompt"]),
            prompt_retention=_nan_if_null(value["kept"]),
            diversity=Interval.from_json(value["diversity"]),
            drift=Drift.from_json(value["drift"]),
            near_copies=NearCopies.from_json(value["memorised"]),
            epoch_unit=str(value["unit"]),
        )


def score_base(
    class_images: ScoredImages, references: References, prompts: Sequence[str], *, floor: float = 0.0, seed: int = 0
) -> BaseScores:
    """Score the base on its class images, whose prompts are given."""
    return BaseScores(
        similarity=_mean(m.similarity(class_images.embeddings, references.compared.embeddings)),
        reference_similarity=references.similarity,
        prompt=m.mean_interval(class_images.prompt, seed=seed),
        floor=floor,
        diversity=m.diversity(class_images.embeddings, prompts, seed=seed),
        attributes=m.attribute_frequencies(class_images.attributes, references.attributes),
        images=len(class_images),
    )


def score_checkpoint(
    cell: tuple[str, float, int],
    images: ScoredSeries,
    base: ScoredSeries,
    references: References,
    *,
    prompts: Sequence[str],
    requested: Sequence[Collection[str]],
    requested_other: Sequence[Collection[str]],
    floor: float = 0.0,
    seed: int = 0,
) -> ScoredCheckpoint:
    """Compute all scores of a cell from its three series of images and the base's for the same prompts and seeds.

    Args:
        cell: weights file, strength, epoch.
        images: the cell's images.
        base: the base's images; `subject` is not used, since the base is compared on the class.
        references: the subject's own images.
        prompts: the prompts of the subject images without the trigger; images of one prompt are a group for diversity.
        requested: for each of them the attribute groups that it asks for.
        requested_other: the same for the images of another class.
        floor: mean prompt score for prompts that do not belong to the image.
        seed: seed of the bootstrap.
    """
    compared, attributes = references.compared.embeddings, references.attributes
    class_images = base.class_images.first(len(images.class_images))
    base_similarity = _mean(m.similarity(class_images.embeddings, compared))
    similarity = m.similarity(images.subject.embeddings, compared)
    like = m.likeness(similarity, base_similarity, references.similarity)
    shares = m.attribute_share(images.subject.attributes, attributes, requested)
    base_share = _mean(m.attribute_share(class_images.attributes, attributes, requested))
    scores = m.subject_scores(like, m.likeness(shares, base_share, references.attribute_share))
    known = scores[~np.isnan(scores)]
    weights, strength, epoch = cell
    base = ScoredSeries(base.subject, class_images, base.other)
    return ScoredCheckpoint(
        weights=weights,
        strength=strength,
        epoch=epoch,
        images=len(images.subject),
        fidelity=m.mean_interval(scores, seed=seed),
        shown=m.proportion(known >= SHOWN_FROM),
        likeness=m.mean_interval(like, seed=seed),
        similarity=m.mean_interval(similarity, seed=seed),
        attributes=m.attribute_frequencies(images.subject.attributes, attributes),
        prompt=m.mean_interval(images.subject.prompt, seed=seed),
        prompt_retention=m.prompt_retention(_mean(images.subject.prompt), _mean(class_images.prompt), floor),
        diversity=m.diversity(images.subject.embeddings, prompts, seed=seed),
        drift=_drift(images, base, references, [*requested, *requested_other], floor, seed),
        near_copies=m.near_copies(
            images.subject.embeddings,
            references.training.embeddings,
            images.subject.small,
            references.training.small,
        ),
    )


def _drift(
    images: ScoredSeries,
    base: ScoredSeries,
    references: References,
    requested: Sequence[Collection[str]],
    floor: float,
    seed: int,
) -> Drift:
    """Measure the drift of class and other images from the base's for the same prompts and seeds."""
    compared = references.compared.embeddings
    base_similarity = _mean(m.similarity(base.class_images.embeddings, compared))
    return m.drift(
        _drift_input([images.class_images, images.other], compared),
        _drift_input([base.class_images, base.other.first(len(images.other))], compared),
        similarity_gap=references.similarity - base_similarity,
        embedding_distance=float(np.linalg.norm(compared.mean(axis=0) - base.class_images.embeddings.mean(axis=0))),
        attributes=references.attributes,
        requested=requested,
        prompt_scale=_mean(base.class_images.prompt) - floor if floor else 1.0,
        seed=seed,
    )


def _drift_input(parts: Sequence[ScoredImages], compared: Floats) -> m.DriftInput:
    similarity = np.concatenate([m.similarity(p.embeddings, compared) for p in parts])
    embeddings = np.concatenate([p.embeddings for p in parts])
    prompt = np.concatenate([p.prompt for p in parts])
    return m.DriftInput(similarity, embeddings, prompt, [a for p in parts for a in p.attributes])


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _null_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _nan_if_null(value: Any) -> float:
    return math.nan if value is None else float(value)
