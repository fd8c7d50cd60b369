"""Scores generated images as the run's evaluation does: subject, prompt, broken images, copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.checkpoint_scores import Baseline
from bakehouse.evaluation.evaluate_run import EvaluationRun
from bakehouse.evaluation.evaluation_inputs import SAME_IMAGE
from bakehouse.evaluation.image_cache import center_square
from bakehouse.evaluation.image_checks import ImageChecks
from bakehouse.evaluation.metrics import Floats, known_mean, near_copy_rows, root_mean_square
from bakehouse.evaluation.scored_images import ScoredImages
from bakehouse.synthesis.candidates import Candidate

Flags = NDArray[np.bool_]

FOLLOWS = 0.6
"""Least share of the base's own mean prompt score that a drawn image must reach."""


@dataclass(frozen=True)
class Judge:
    """Scores generated images as the evaluation of a run does."""

    evaluation: EvaluationRun
    baseline: Baseline
    photos: Sequence[ImageRecord]
    """The images of the dataset, of which nothing may be a copy."""
    least_fidelity: float | None = None
    """Subject fidelity from which an image shows the subject. None: as the evaluation found it for this subject."""

    @property
    def shown_from(self) -> float:
        """Subject fidelity from which an image counts."""
        return self.baseline.calibration.shown_from if self.least_fidelity is None else self.least_fidelity

    @property
    def least_prompt(self) -> float:
        """Prompt score from which an image follows its prompt; NaN if the base's own is unknown."""
        usual, floor = known_mean(self.baseline.base.class_images.prompt), self.baseline.floor
        return floor + FOLLOWS * (usual - floor)

    def __call__(
        self, candidates: Sequence[Candidate], paths: Sequence[Path], kept: Sequence[Path] = ()
    ) -> list[Candidate]:
        """Return candidates with their scores, and the reason if one is to be dropped.

        Args:
            candidates: drawn images.
            paths: their files.
            kept: files of images that passed before; one that is the same as another that passed is dropped.
        """
        if not candidates:
            return []
        scorer, cache = self.evaluation.scorer, self.evaluation.cache
        plain = cache.score_photos(scorer, paths)
        images = ImageChecks(cache, scorer).marked(self.baseline.marks, plain, paths)
        bare = [c.bare_prompt for c in candidates]
        requested = [scorer.requested_attributes(text).keys() for text in bare]
        fidelity = self.baseline.measure.scores(images, requested)
        follows = scorer.prompt_scores([center_square(open_image(path)) for path in paths], bare)
        broken = self._broken(paths, bare)
        copies, nearest = self._copies(images)
        passed: Floats = cache.score_photos(scorer, kept).small if kept else images.small[:0]
        judged = []
        for i, candidate in enumerate(candidates):
            score, prompt, small = float(fidelity[i]), float(follows[i]), images.small[i : i + 1]
            is_twin = len(passed) > 0 and bool(root_mean_square(small, passed).min() < SAME_IMAGE)
            reasons = (
                (math.isnan(score), "its subject cannot be scored"),
                (score < self.shown_from, f"it does not show the subject: {score:.2f}, needed {self.shown_from:.2f}"),
                (
                    prompt < self.least_prompt,
                    f"it does not show {bare[i]!r}: {prompt:.2f}, needed {self.least_prompt:.2f}",
                ),
                (bool(broken[i]), "it is broken"),
                (bool(copies[i]), f"it copies {nearest[i]}"),
                (is_twin, "it is the same as an earlier one"),
            )
            reason = next((text for applies, text in reasons if applies), "")
            passed = passed if reason else np.concatenate([passed, small])
            scores = (_rounded(score), _rounded(prompt))
            judged.append(
                replace(candidate, fidelity=scores[0], prompt_score=scores[1], nearest=nearest[i], reason=reason)
            )
        return judged

    def _broken(self, paths: Sequence[Path], prompts: Sequence[str]) -> Flags:
        """Return which images are broken [N]: by the base's error on them, and as the scorer sees faces."""
        health, none = self.baseline.health, np.zeros(len(paths), dtype=bool)
        if health is None:
            return none
        errors = self.evaluation.cache.denoising_errors(paths, prompts)
        broken: Flags = health.broken(errors) if errors is not None and math.isfinite(health.threshold) else none
        images = [center_square(open_image(path)) for path in paths]
        seen = self.evaluation.scorer.broken(images) if health.asks_scorer else None
        return broken | seen if seen is not None else broken

    def _copies(self, images: ScoredImages) -> tuple[Flags, list[str]]:
        """Return which images copy one of the dataset [N], and the name of each one's nearest."""
        if not self.photos:
            return np.zeros(len(images), dtype=bool), [""] * len(images)
        photos = self.evaluation.cache.score_photos(self.evaluation.scorer, [r.path for r in self.photos])
        near = near_copy_rows(images.embeddings, photos.embeddings, images.small, photos.small)
        same = root_mean_square(images.small, photos.small).min(axis=1) < SAME_IMAGE
        closest = (images.embeddings @ photos.embeddings.T).argmax(axis=1)
        return near | same, [self.photos[int(k)].path.name for k in closest]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
