"""The result of a benchmark: a row for each subject, and their mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bakehouse.dreambench.scorers import MEASURES, Measure
from bakehouse.evaluation.metrics import UNKNOWN, Interval, mean_interval, nan_if_null, null_if_nan


@dataclass(frozen=True)
class SubjectRow:
    """The figures of one subject; intervals are over its prompts."""

    name: str
    subject: str
    kind: str
    photos: int
    images: int
    prompts: int
    scores: Mapping[Measure, Interval]
    of_photos: Mapping[Measure, float]
    """Mean cosine of the subject's photos with each other."""

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "scores": {m: i.to_json() for m, i in self.scores.items()},
            "of_photos": {m: null_if_nan(v) for m, v in self.of_photos.items()},
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> SubjectRow:
        scores = {m: Interval.from_json(value["scores"][m]) for m in MEASURES if m in value["scores"]}
        of_photos = {m: nan_if_null(value["of_photos"][m]) for m in MEASURES if m in value["of_photos"]}
        return SubjectRow(**{name: value[name] for name in _PLAIN}, scores=scores, of_photos=of_photos)


_PLAIN = ("name", "subject", "kind", "photos", "images", "prompts")


@dataclass(frozen=True)
class BenchResult:
    """All rows, and what they were measured with."""

    base: str
    scorer: str
    columns: Mapping[Measure, str]
    prompts_from: str
    is_full_protocol: bool
    """DreamBooth's 30 subjects, 25 prompts and 4 images."""
    settings: str
    """How images were generated, in words."""
    rows: tuple[SubjectRow, ...]
    notes: tuple[str, ...] = ()

    def mean(self, measure: Measure) -> Interval:
        """Return the mean over subjects with its bootstrap interval: subjects, not images, are the sample."""
        return _over_subjects([r.scores[measure].value for r in self.rows if measure in r.scores])

    def mean_of_photos(self, measure: Measure) -> Interval:
        """Return the same of the subjects' photos with each other."""
        return _over_subjects([r.of_photos[measure] for r in self.rows if measure in r.of_photos])

    def to_json(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "scorer": self.scorer,
            "columns": dict(self.columns),
            "prompts": self.prompts_from,
            "full_protocol": self.is_full_protocol,
            "settings": self.settings,
            "mean": {m: self.mean(m).to_json() for m in self.columns},
            "photos": {m: self.mean_of_photos(m).to_json() for m in self.columns if m != "clip_t"},
            "subjects": [r.to_json() for r in self.rows],
            "notes": list(self.notes),
        }


def _over_subjects(values: list[float]) -> Interval:
    known = [v for v in values if v == v]
    found = mean_interval(known) if known else UNKNOWN
    # One subject says nothing of others.
    return found if len(known) > 1 else Interval(found.value, float("nan"), float("nan"), found.n)
