"""Checks of single images of an evaluation: which of the subject's own marks they show, and which are broken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.image_cache import AdapterVariant, ImageCache, center_square
from bakehouse.evaluation.image_health import HealthJudge
from bakehouse.evaluation.image_scorers import ImageScorer
from bakehouse.evaluation.metrics import UNKNOWN, Floats, Interval, proportion
from bakehouse.evaluation.own_marks import OwnMarks, find_marks
from bakehouse.evaluation.prompt_set import EvalPrompt
from bakehouse.evaluation.scored_images import ScoredImages

MAX_PHOTOS = 16
"""Most training images that are used to learn what healthy images are like."""
MAX_PHOTOS_BROKEN = 0.1
"""If the scorer calls a larger share of the subject's photos broken, it is not asked about generated images."""
MAX_CROPS = 6
"""Crops of a mark in the report, from photos and from generated images each."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Crop:
    """Where an image shows a mark, or comes nearest to it."""

    number: int
    """The number of the photo or of the subject image."""
    box: Box
    """Left, top, right and bottom as shares of the sides of the image's central square."""
    present: bool

    def to_json(self) -> dict[str, Any]:
        return {"number": self.number, "box": list(self.box), "present": self.present}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Crop:
        left, top, right, bottom = (float(v) for v in value["box"])
        return Crop(int(value["number"]), (left, top, right, bottom), bool(value["present"]))


@dataclass(frozen=True)
class ReportedMark:
    """One of the subject's own marks for the report: how often images show it, with crops of it."""

    in_photos: Interval
    in_class: Interval
    """Share of the base's images of the class."""
    in_words: Interval
    """Share of the base's images of words alone."""
    in_images: Interval
    """Share of the images of the cell that the report shows."""
    photos: tuple[Crop, ...]
    images: tuple[Crop, ...]

    def to_json(self) -> dict[str, Any]:
        shares = {name: getattr(self, name).to_json() for name in _SHARES}
        crops = {name: [crop.to_json() for crop in getattr(self, name)] for name in ("photos", "images")}
        return shares | crops

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ReportedMark:
        photos, images = (tuple(map(Crop.from_json, value[name])) for name in ("photos", "images"))
        in_photos, in_class, in_words, in_images = (Interval.from_json(value[name]) for name in _SHARES)
        return ReportedMark(in_photos, in_class, in_words, in_images, photos, images)


_SHARES = ("in_photos", "in_class", "in_words", "in_images")


@dataclass(frozen=True)
class ImageChecks:
    """The checks with what they need of an evaluation: its images and its scorer."""

    cache: ImageCache
    scorer: ImageScorer

    def find_marks(self, training: Sequence[ImageRecord], of_class: Sequence[EvalPrompt]) -> OwnMarks:
        """Find the subject's own marks, from its photos and the base's images of the class."""
        photos = [center_square(open_image(r.path)) for r in training]
        base = self.cache.load(AdapterVariant(), of_class)
        return find_marks(self.scorer.patches(photos), self.scorer.patches(base))

    def marked(self, marks: OwnMarks, images: ScoredImages, paths: Sequence[Path]) -> ScoredImages:
        """Return the images with the marks that they show."""
        return replace(images, marks=self.cache.look_for(marks, self.scorer, paths).present)

    def report_marks(
        self, marks: OwnMarks, photos: Sequence[Path], images: Sequence[Path], words: ScoredImages
    ) -> tuple[ReportedMark, ...]:
        """Return the marks with crops of photos and of generated images, those that lack one first."""
        if not marks.marks:
            return ()
        of_photos, of_images = (self.cache.look_for(marks, self.scorer, paths) for paths in (photos, images))
        in_words = words.marks if words.marks is not None else np.zeros((0, len(marks.marks)), dtype=bool)
        return tuple(
            ReportedMark(
                mark.in_photos,
                mark.in_base,
                proportion(in_words[:, k]),
                proportion(of_images.present[:, k]),
                _crops(of_photos.present[:, k], of_photos.boxes[:, k], np.argsort(-of_photos.similarity[:, k])),
                _crops(of_images.present[:, k], of_images.boxes[:, k], np.argsort(of_images.similarity[:, k])),
            )
            for k, mark in enumerate(marks.marks)
        )

    def health_judge(
        self, training: Sequence[ImageRecord], of_class: Sequence[EvalPrompt], class_word: str
    ) -> HealthJudge | None:
        """Return what calls images broken, from the base's images and the photos; None without a base to ask."""
        of_base = self._errors(AdapterVariant(), of_class)
        photos = [r.path for r in training[:MAX_PHOTOS]]
        of_photos = self.cache.denoising_errors(photos, [class_word] * len(photos))
        if of_base is None or of_photos is None:
            return None
        seen = self.scorer.broken([center_square(open_image(path)) for path in photos])
        # A drawing of another kind than the scorer knows may look broken to it: then it is no judge of this subject.
        knows = seen is not None and len(seen) > 0 and float(seen.mean()) <= MAX_PHOTOS_BROKEN
        return replace(HealthJudge.fit([of_base, of_photos]), asks_scorer=knows)

    def broken(
        self, variant: AdapterVariant, prompts: Sequence[EvalPrompt], judge: HealthJudge | None
    ) -> tuple[Interval, tuple[int, ...]]:
        """Return the share of broken images and which they are, the worst first; unknown without a judge."""
        errors = self._errors(variant, prompts) if judge is not None else None
        if judge is None or errors is None or not math.isfinite(judge.threshold):
            return UNKNOWN, ()
        broken, far = judge.broken(errors), judge.distances(errors)
        seen = self.scorer.broken(self.cache.load(variant, prompts)) if judge.asks_scorer else None
        broken = broken | seen if seen is not None else broken
        return proportion(broken), tuple(int(i) for i in np.argsort(-far, kind="stable") if broken[i])

    def _errors(self, variant: AdapterVariant, prompts: Sequence[EvalPrompt]) -> Floats | None:
        return self.cache.denoising_errors(self.cache.paths(variant, prompts), [p.bare_prompt for p in prompts])


def _crops(present: Any, boxes: Floats, order: Any) -> tuple[Crop, ...]:
    found = []
    for i in order[:MAX_CROPS]:
        left, top, right, bottom = (float(v) for v in boxes[i])
        found.append(Crop(int(i), (left, top, right, bottom), bool(present[i])))
    return tuple(found)
