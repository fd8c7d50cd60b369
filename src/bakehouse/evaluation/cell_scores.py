"""From what the judge saw to the figures of one cell: a checkpoint at a weight, beside the untouched base."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bakehouse.evaluation import metrics as m
from bakehouse.evaluation.metrics import Drift, Floats, Interval, Memorised

SHOWN = 0.5
"""A picture shows the subject when it is at least half way from the base to the subject's own images."""


@dataclass(frozen=True)
class Looked:
    """What the judge saw in N pictures, in their order."""

    embeddings: Floats
    """[N, D], unit length."""
    prompt: Floats
    """[N], NaN where a prompt asks for nothing that can be judged."""
    attributes: Sequence[Mapping[str, str]]
    small: Floats
    """[N, P], see `metrics.small_pixels`."""

    def first(self, count: int) -> Looked:
        return Looked(self.embeddings[:count], self.prompt[:count], self.attributes[:count], self.small[:count])

    def __len__(self) -> int:
        return len(self.embeddings)


@dataclass(frozen=True)
class Looks:
    """The three series of a cell; the prompts that went with them."""

    subject: Looked
    klass: Looked
    other: Looked


@dataclass(frozen=True)
class References:
    """The subject's own images: those it was trained on, and what it is compared with."""

    training: Looked
    compared: Looked
    """Held-out images where there are any, else the training images."""
    held_out: bool
    own: Mapping[str, str]
    """The subject's attributes."""

    @property
    def real(self) -> float:
        """Mean similarity of the compared images among themselves; with one, of it to the training images."""
        among = m.self_similarity(self.compared.embeddings)
        if not math.isnan(among):
            return among
        across = m.similarity(self.compared.embeddings, self.training.embeddings)
        return float(across.mean()) if self.held_out and len(across) else math.nan

    @property
    def real_share(self) -> float:
        """The share of the subject's attributes that the judge finds in the subject's own images: it errs too."""
        return _mean(m.attribute_share(self.compared.attributes, self.own))


@dataclass(frozen=True)
class Base:
    """The untouched base on the class prompts: the zero of subject fidelity, the whole of prompt fidelity."""

    similarity: float
    real: float
    """What the subject's own images score: the one of subject fidelity."""
    prompt: Interval
    floor: float
    diversity: Interval
    attributes: Mapping[str, float]
    """How often it shows the subject's attributes without having learned them."""
    images: int

    def to_json(self) -> dict[str, Any]:
        return {
            "similarity": _known(self.similarity),
            "real": _known(self.real),
            "prompt": self.prompt.to_json(),
            "floor": self.floor,
            "diversity": self.diversity.to_json(),
            "attributes": dict(self.attributes),
            "images": self.images,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Base:
        return Base(
            _number(value["similarity"]),
            _number(value["real"]),
            Interval.from_json(value["prompt"]),
            float(value["floor"]),
            Interval.from_json(value["diversity"]),
            dict(value["attributes"]),
            int(value["images"]),
        )


@dataclass(frozen=True)
class Cell:
    """One checkpoint at one weight; shares are of 1."""

    weights: str
    """Relative to the run folder."""
    weight: float
    epoch: int
    images: int
    """Subject pictures judged; as many of the class."""
    fidelity: Interval
    """Subject fidelity: mean of likeness by embedding and by attributes; 0 is the base, 1 the subject's own images."""
    shown: Interval
    """Share of pictures that are at least half way there."""
    likeness: Interval
    similarity: Interval
    """Mean cosine to the references as it is: DINO or CLIP-I of the literature."""
    attributes: Mapping[str, float]
    """How often each of the subject's attributes shows."""
    prompt: Interval
    kept: float
    """Prompt fidelity as a share of the base's, same prompts and seeds."""
    diversity: Interval
    drift: Drift
    memorised: Memorised
    unit: str = "epoch"
    """What `epoch` counts: `step` where the run saved by steps alone."""

    @property
    def dose(self) -> float:
        """Epoch x weight: how much was done to the base."""
        return self.epoch * self.weight

    def to_json(self) -> dict[str, Any]:
        return {
            "weights": self.weights,
            "weight": self.weight,
            "epoch": self.epoch,
            "unit": self.unit,
            "images": self.images,
            "fidelity": self.fidelity.to_json(),
            "shown": self.shown.to_json(),
            "likeness": self.likeness.to_json(),
            "similarity": self.similarity.to_json(),
            "attributes": {k: _known(v) for k, v in self.attributes.items()},
            "prompt": self.prompt.to_json(),
            "kept": _known(self.kept),
            "diversity": self.diversity.to_json(),
            "drift": self.drift.to_json(),
            "memorised": self.memorised.to_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Cell:
        figures = ("fidelity", "shown", "likeness", "similarity")
        fidelity, shown, likeness, similarity = (Interval.from_json(value[name]) for name in figures)
        return Cell(
            weights=str(value["weights"]),
            weight=float(value["weight"]),
            epoch=int(value["epoch"]),
            images=int(value["images"]),
            fidelity=fidelity,
            shown=shown,
            likeness=likeness,
            similarity=similarity,
            attributes={k: _number(v) for k, v in value["attributes"].items()},
            prompt=Interval.from_json(value["prompt"]),
            kept=_number(value["kept"]),
            diversity=Interval.from_json(value["diversity"]),
            drift=Drift.from_json(value["drift"]),
            memorised=Memorised.from_json(value["memorised"]),
            unit=str(value["unit"]),
        )


def score_base(
    klass: Looked, references: References, prompts: Sequence[str], *, floor: float = 0.0, seed: int = 0
) -> Base:
    """The base's own figures on the class pictures, whose prompts are given."""
    return Base(
        similarity=_mean(m.similarity(klass.embeddings, references.compared.embeddings)),
        real=references.real,
        prompt=m.mean_interval(klass.prompt, seed=seed),
        floor=floor,
        diversity=m.diversity(klass.embeddings, prompts, seed=seed),
        attributes=m.frequencies(klass.attributes, references.own),
        images=len(klass),
    )


def score_cell(
    name: tuple[str, float, int],
    looks: Looks,
    base: Looks,
    references: References,
    *,
    prompts: Sequence[str],
    asked: Sequence[Collection[str]],
    asked_other: Sequence[Collection[str]],
    floor: float = 0.0,
    seed: int = 0,
) -> Cell:
    """All figures of a cell from its three series and the base's of the same prompts and seeds.

    Args:
        name: weights, weight, epoch.
        looks: the cell's pictures.
        base: the base's; `subject` is not read: its zero is what it draws for the class.
        references: the subject's own images.
        prompts: of the subject pictures, without the trigger; they group pictures for diversity.
        asked: groups that each of them asks for.
        asked_other: the same for the pictures of another class.
        floor: what the judge gives pictures for prompts that are not theirs.
        seed: of the bootstrap.
    """
    compared, own = references.compared.embeddings, references.own
    here = base.klass.first(len(looks.klass))
    zero = _mean(m.similarity(here.embeddings, compared))
    similar = m.similarity(looks.subject.embeddings, compared)
    like = m.likeness(similar, zero, references.real)
    shares = m.attribute_share(looks.subject.attributes, own, asked)
    base_share = _mean(m.attribute_share(here.attributes, own, asked))
    scores = m.subject_scores(like, m.likeness(shares, base_share, references.real_share))
    known = scores[~np.isnan(scores)]
    base_prompt = _mean(here.prompt)
    weights, weight, epoch = name
    return Cell(
        weights=weights,
        weight=weight,
        epoch=epoch,
        images=len(looks.subject),
        fidelity=m.mean_interval(scores, seed=seed),
        shown=m.proportion(known >= SHOWN),
        likeness=m.mean_interval(like, seed=seed),
        similarity=m.mean_interval(similar, seed=seed),
        attributes=m.frequencies(looks.subject.attributes, own),
        prompt=m.mean_interval(looks.subject.prompt, seed=seed),
        kept=m.kept(_mean(looks.subject.prompt), base_prompt, floor),
        diversity=m.diversity(looks.subject.embeddings, prompts, seed=seed),
        drift=_drift(looks, Looks(base.subject, here, base.other), references, [*asked, *asked_other], floor, seed),
        memorised=m.memorised(
            looks.subject.embeddings, references.training.embeddings, looks.subject.small, references.training.small
        ),
    )


def _drift(
    looks: Looks, base: Looks, references: References, asked: Sequence[Collection[str]], floor: float, seed: int
) -> Drift:
    """Class and other pictures against the base's of the same prompts and seeds."""
    compared = references.compared.embeddings
    zero = _mean(m.similarity(base.klass.embeddings, compared))
    return m.drift(
        _seen([looks.klass, looks.other], compared),
        _seen([base.klass, base.other.first(len(looks.other))], compared),
        gap=references.real - zero,
        way=float(np.linalg.norm(compared.mean(axis=0) - base.klass.embeddings.mean(axis=0))),
        own=references.own,
        asked=asked,
        prompt_scale=_mean(base.klass.prompt) - floor if floor else 1.0,
        seed=seed,
    )


def _seen(parts: Sequence[Looked], compared: Floats) -> m.Seen:
    similar = np.concatenate([m.similarity(p.embeddings, compared) for p in parts])
    embeddings = np.concatenate([p.embeddings for p in parts])
    prompt = np.concatenate([p.prompt for p in parts])
    return m.Seen(similar, embeddings, prompt, [a for p in parts for a in p.attributes])


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
