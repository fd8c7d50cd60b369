"""Scores of one cell, a checkpoint at a strength, computed from what the scorer measured beside the untouched base."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bakehouse.evaluation import metrics as m
from bakehouse.evaluation.image_health import HealthJudge
from bakehouse.evaluation.metrics import UNKNOWN, Floats, Interval, NearCopies
from bakehouse.evaluation.own_marks import OwnMarks
from bakehouse.evaluation.prior_drift import Drift, DriftInput, drift
from bakehouse.evaluation.prompt_set import EvalPrompts
from bakehouse.evaluation.scored_images import ScoredImages, ScoredSeries
from bakehouse.evaluation.subject_measure import Calibration, SubjectMeasure


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


@dataclass(frozen=True)
class Baseline:
    """What every cell of an evaluation is compared with: the untouched base and the subject's own images."""

    prompts: EvalPrompts
    base: ScoredSeries
    """The base's images; `subject` are those of words alone, with the subject's prompts and seeds."""
    references: References
    measure: SubjectMeasure
    calibration: Calibration
    floor: float
    """Mean prompt score for prompts that do not belong to the image."""
    marks: OwnMarks
    health: HealthJudge | None
    """Calls images broken; None if the generator has no base to ask."""


@dataclass(frozen=True)
class BaseScores:
    """Scores of the untouched base on the class prompts, the reference point of every cell."""

    similarity: float
    """Mean cosine to the references."""
    reference_similarity: float
    """Mean cosine of the references with each other."""
    prompt: Interval
    floor: float
    """Mean prompt score for prompts that do not belong to the image."""
    diversity: Interval
    attributes: Mapping[str, float]
    """How often the base shows each of the subject's attributes."""
    images: int
    calibration: Calibration
    """How images of words alone, of other subjects and of the subject itself score."""
    marks: tuple[Interval, ...]
    """Share of the class images that show each of the subject's own marks."""
    broken: Interval
    """Share of the base's images of words alone that count as broken."""

    def to_json(self) -> dict[str, Any]:
        return {
            "similarity": m.null_if_nan(self.similarity),
            "real": m.null_if_nan(self.reference_similarity),
            "prompt": self.prompt.to_json(),
            "floor": self.floor,
            "diversity": self.diversity.to_json(),
            "attributes": dict(self.attributes),
            "images": self.images,
            "calibration": self.calibration.to_json(),
            "marks": [share.to_json() for share in self.marks],
            "broken": self.broken.to_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> BaseScores:
        return BaseScores(
            m.nan_if_null(value["similarity"]),
            m.nan_if_null(value["real"]),
            Interval.from_json(value["prompt"]),
            float(value["floor"]),
            Interval.from_json(value["diversity"]),
            dict(value["attributes"]),
            int(value["images"]),
            Calibration.from_json(value["calibration"]),
            tuple(Interval.from_json(share) for share in value["marks"]),
            Interval.from_json(value["broken"]),
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
    """Subject fidelity: 0 is what the base draws from words alone, 1 the subject's own images."""
    gain: Interval
    """Subject fidelity above the base's images of words alone, same prompts and seeds."""
    effect: Interval
    """How far the trigger moves images from the base's of the class, same prompts and seeds, to the subject's own."""
    shown: Interval
    """Share of images whose subject score is at least `Calibration.shown_from`."""
    parts: Mapping[str, Interval]
    """The parts of subject fidelity by name: likeness, attributes, own marks."""
    marks: tuple[Interval, ...]
    """Share of images that show each of the subject's own marks."""
    similarity: Interval
    """Mean cosine to the references: DINO or CLIP-I of the literature."""
    attributes: Mapping[str, float]
    """How often each of the subject's attributes shows."""
    prompt: Interval
    retention: Interval
    """Prompt fidelity as a share of the base's, same prompts and seeds."""
    diversity: Interval
    drift: Drift
    near_copies: NearCopies
    broken: Interval = UNKNOWN
    """Share of broken images; unknown where it was not measured."""
    broken_images: tuple[int, ...] = ()
    """Indices of the broken ones among the subject images, the worst first."""
    epoch_unit: str = "epoch"
    """What `epoch` counts: `step` if the run saved by steps only."""

    @property
    def prompt_retention(self) -> float:
        """Prompt fidelity as a share of the base's."""
        return self.retention.value

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
            "gain": self.gain.to_json(),
            "effect": self.effect.to_json(),
            "shown": self.shown.to_json(),
            "parts": {name: part.to_json() for name, part in self.parts.items()},
            "marks": [share.to_json() for share in self.marks],
            "broken": self.broken.to_json() | {"images": list(self.broken_images)},
            "similarity": self.similarity.to_json(),
            "attributes": {k: m.null_if_nan(v) for k, v in self.attributes.items()},
            "prompt": self.prompt.to_json(),
            "kept": self.retention.to_json(),
            "diversity": self.diversity.to_json(),
            "drift": self.drift.to_json(),
            "memorised": self.near_copies.to_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ScoredCheckpoint:
        figures = ("fidelity", "gain", "effect", "shown", "similarity")
        fidelity, gain, effect, shown, similarity = (Interval.from_json(value[name]) for name in figures)
        return ScoredCheckpoint(
            weights=str(value["weights"]),
            strength=float(value["weight"]),
            epoch=int(value["epoch"]),
            images=int(value["images"]),
            fidelity=fidelity,
            gain=gain,
            effect=effect,
            shown=shown,
            parts={name: Interval.from_json(part) for name, part in value["parts"].items()},
            marks=tuple(Interval.from_json(share) for share in value["marks"]),
            broken=Interval.from_json(value["broken"]),
            broken_images=tuple(int(i) for i in value["broken"]["images"]),
            similarity=similarity,
            attributes={k: m.nan_if_null(v) for k, v in value["attributes"].items()},
            prompt=Interval.from_json(value["prompt"]),
            retention=Interval.from_json(value["kept"]),
            diversity=Interval.from_json(value["diversity"]),
            drift=Drift.from_json(value["drift"]),
            near_copies=NearCopies.from_json(value["memorised"]),
            epoch_unit=str(value["unit"]),
        )


def score_base(baseline: Baseline, prompts: Sequence[str], *, broken: Interval = UNKNOWN, seed: int = 0) -> BaseScores:
    """Score the base on its class images, whose prompts are given; `broken` is the share of its broken images."""
    class_images, references = baseline.base.class_images, baseline.references
    return BaseScores(
        similarity=m.known_mean(m.similarity(class_images.embeddings, references.compared.embeddings)),
        reference_similarity=references.similarity,
        prompt=m.mean_interval(class_images.prompt, seed=seed),
        floor=baseline.floor,
        diversity=m.diversity(class_images.embeddings, prompts, seed=seed),
        attributes=m.attribute_frequencies(class_images.attributes, references.attributes),
        images=len(class_images),
        calibration=baseline.calibration,
        marks=mark_shares(class_images),
        broken=broken,
    )


def score_checkpoint(
    cell: tuple[str, float, int],
    images: ScoredSeries,
    baseline: Baseline,
    *,
    prompts: Sequence[str],
    requested: Sequence[Collection[str]],
    requested_other: Sequence[Collection[str]],
    seed: int = 0,
) -> ScoredCheckpoint:
    """Compute all scores of a cell from its three series of images and the base's for the same prompts and seeds.

    Args:
        cell: weights file, strength, epoch.
        images: the cell's images.
        baseline: the base's images, of which there may be more than of the cell, and the measure of the subject.
        prompts: the prompts of the subject images without the trigger; images of one prompt are a group for diversity.
        requested: for each of them the attribute groups that it asks for.
        requested_other: the same for the images of another class.
        seed: seed of the bootstrap.
    """
    references, measure = baseline.references, baseline.measure
    count = len(images.subject)
    words, class_images = baseline.base.subject.first(count), baseline.base.class_images.first(count)
    scores = measure.scores(images.subject, requested)
    known = scores[~np.isnan(scores)]
    of_words = measure.scores(words, requested)
    weights, strength, epoch = cell
    return ScoredCheckpoint(
        weights=weights,
        strength=strength,
        epoch=epoch,
        images=count,
        fidelity=m.mean_interval(scores, seed=seed),
        gain=m.paired_difference(scores[: len(of_words)], of_words, seed=seed),
        effect=_effect(scores, measure.scores(class_images, requested), baseline.calibration, seed),
        shown=m.proportion(known >= baseline.calibration.shown_from),
        parts={n: m.mean_interval(v, seed=seed) for n, v in measure.of_parts(images.subject, requested).items()},
        marks=mark_shares(images.subject),
        similarity=m.mean_interval(m.similarity(images.subject.embeddings, references.compared.embeddings), seed=seed),
        attributes=m.attribute_frequencies(images.subject.attributes, references.attributes),
        prompt=m.mean_interval(images.subject.prompt, seed=seed),
        retention=m.prompt_retention(images.subject.prompt, class_images.prompt, baseline.floor, seed=seed),
        diversity=m.diversity(images.subject.embeddings, prompts, seed=seed),
        drift=_drift(images, baseline, [*requested, *requested_other], seed),
        near_copies=m.near_copies(
            images.subject.embeddings,
            references.training.embeddings,
            images.subject.small,
            references.training.small,
        ),
    )


def mark_shares(images: ScoredImages) -> tuple[Interval, ...]:
    """Return the share of images that show each of the subject's own marks."""
    return tuple(m.proportion(column) for column in images.marks.T) if images.marks is not None else ()


def _effect(scores: Floats, of_class: Floats, calibration: Calibration, seed: int) -> Interval:
    distance = calibration.own.value - calibration.class_images.value
    return m.paired_difference(scores, of_class, seed=seed).scaled(1 / distance if distance > 0 else math.nan)


def _drift(images: ScoredSeries, baseline: Baseline, requested: Sequence[Collection[str]], seed: int) -> Drift:
    """Measure the drift of class and other images from the base's for the same prompts and seeds."""
    base, measure, references = baseline.base, baseline.measure, baseline.references
    class_images = base.class_images.first(len(images.class_images))
    of_class = m.known_mean(measure.likeness(class_images))
    compared = references.compared.embeddings
    return drift(
        _drift_input([images.class_images, images.other], measure),
        _drift_input([class_images, base.other.first(len(images.other))], measure),
        similarity_gap=measure.own_likeness - of_class,
        embedding_distance=float(np.linalg.norm(compared.mean(axis=0) - class_images.embeddings.mean(axis=0))),
        attributes=references.attributes,
        requested=requested,
        prompt_scale=m.known_mean(class_images.prompt) - baseline.floor if baseline.floor else 1.0,
        seed=seed,
    )


def _drift_input(parts: Sequence[ScoredImages], measure: SubjectMeasure) -> DriftInput:
    similarity = np.concatenate([measure.likeness(p) for p in parts])
    embeddings = np.concatenate([p.embeddings for p in parts])
    prompt = np.concatenate([p.prompt for p in parts])
    return DriftInput(similarity, embeddings, prompt, [a for p in parts for a in p.attributes])
