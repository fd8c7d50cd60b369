"""Health of images: which are broken, by the untouched base's own denoising error on them.

A base predicts the noise in an image well if the image is one that it would make. Melted shapes, burnt colours and
noise are predicted worse, or, where structure was washed out, better than any healthy image. `models.denoising_error`
measures a map of errors at a few timesteps; here each map becomes a few statistics (the mean, and the largest and the
smallest local mean), and an image is broken if one of them is further out than in healthy images: the base's own
images, and the subject's photos, which the base never saw and which are healthy all the same. Pure functions on arrays.

    errors = generator.denoising_errors(images, [class_word] * len(images))          # [N, T, h, w]
    judge = HealthJudge.fit([errors_of_base_images, errors_of_photos])
    broken = judge.broken(errors_of_generated); judge.share(errors_of_generated)      # [N] bool; Wilson interval

The threshold is conformal (Vovk et al. 2005): of healthy images like those of the fit, about `FALSE_ALARMS` are called
broken, whatever the distribution. It sees images that are broken as a whole (burnt colours, an adapter that is far too
strong, noise). It does NOT see a face that is smeared or blurred in an otherwise healthy image: measured on crumb, 0 to
4 % of them, no more than false alarms. That needs a reader of faces, `ImageScorer.broken`, which is asked as well if it
calls the subject's photos healthy. Without the photos among the healthy images, 15 of 16 images of a good adapter were
called broken: a subject that is new to the base is hard for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bakehouse.evaluation.metrics import UNKNOWN, Floats, Interval, proportion

FALSE_ALARMS = 0.03
"""Share of healthy images that may be called broken."""
MIN_HEALTHY = 16
"""With fewer healthy images nothing is called broken: there is no tail to compare with."""
WINDOWS = (1 / 8, 1 / 4)
"""Sides of the windows of local means, as shares of the map's side."""


@dataclass(frozen=True)
class HealthJudge:
    """Calls images broken whose statistics are outside those of healthy images."""

    low: Floats
    """[F]: the lowest median of a healthy group, per statistic."""
    high: Floats
    """[F]: the highest."""
    scale: Floats
    """[F]: standard deviation within the groups."""
    threshold: float
    """From this distance on, in standard deviations, an image is broken; infinity if there were too few."""
    asks_scorer: bool = False
    """Whether what the scorer itself sees broken counts too: it called the subject's photos healthy."""

    @classmethod
    def fit(cls, healthy: Sequence[ArrayLike], *, false_alarms: float = FALSE_ALARMS) -> HealthJudge:
        """Learn what is healthy from groups of error maps [M, T, h, w], such as the base's images and the photos.

        An image between the groups is healthy: one group's median is the other's tail. Each image's distance is taken
        with the others alone, so that the threshold is not too low.
        """
        groups = [s for s in (error_statistics(maps) for maps in healthy) if len(s)]
        if sum(map(len, groups)) < MIN_HEALTHY:
            width = groups[0].shape[1] if groups else 0
            return cls(np.zeros(width), np.zeros(width), np.ones(width), math.inf)
        left_out = []
        for g, group in enumerate(groups):
            for i in range(len(group)):
                rest = [np.delete(s, i, axis=0) if k == g else s for k, s in enumerate(groups)]
                left_out.append(_distance(group[i : i + 1], *_limits([s for s in rest if len(s)]))[0])
        ranked = np.sort(left_out)[::-1]
        # The k-th largest of m is exceeded by a new one with probability k / (m + 1).
        k = max(1, int(false_alarms * (len(ranked) + 1)))
        return cls(*_limits(groups), float(ranked[k - 1]))

    def distances(self, errors: ArrayLike) -> Floats:
        """Return how far outside of healthy images each image is [N], in standard deviations; 0 is inside."""
        return _distance(error_statistics(errors), self.low, self.high, self.scale)

    def broken(self, errors: ArrayLike) -> NDArray[np.bool_]:
        """Return which images are broken [N], from their error maps [N, T, h, w]."""
        broken: NDArray[np.bool_] = self.distances(errors) > self.threshold
        return broken

    def share(self, errors: ArrayLike) -> Interval:
        """Return the share of broken images with its Wilson interval; unknown if there were too few healthy ones."""
        return proportion(self.broken(errors)) if math.isfinite(self.threshold) else UNKNOWN


def error_statistics(errors: ArrayLike) -> Floats:
    """Return statistics [N, F] of error maps [N, T, h, w], logarithms: per timestep the mean, and per window the
    largest and the smallest local mean.
    """
    maps = np.asarray(errors, dtype=np.float64)
    if maps.ndim != 4:
        raise ValueError(f"error maps are {maps.shape}: expected [N, T, h, w]")
    if not len(maps):
        return np.zeros((0, maps.shape[1] * (1 + 2 * len(WINDOWS))))
    found = [maps.mean(axis=(2, 3))]
    for share in WINDOWS:
        local = _local_means(maps, max(1, round(share * min(maps.shape[2:]))))
        found += [local.max(axis=(2, 3)), local.min(axis=(2, 3))]
    statistics: Floats = np.log(np.maximum(np.concatenate(found, axis=1), 1e-12))
    return statistics


def _limits(groups: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
    """Return the lowest and highest median of the groups, and the deviation within them, per statistic [F]."""
    medians = np.stack([np.median(s, axis=0) for s in groups])
    residuals = np.concatenate([s - m for s, m in zip(groups, medians, strict=True)])
    # Not the median absolute deviation: a statistic with heavy tails would alone decide the threshold.
    scale = np.sqrt(np.square(residuals).mean(axis=0))
    return medians.min(axis=0), medians.max(axis=0), np.maximum(scale, 1e-6)


def _distance(statistics: Floats, low: Floats, high: Floats, scale: Floats) -> Floats:
    outside = np.maximum(np.maximum(statistics - high, low - statistics), 0.0) / scale
    largest: Floats = outside.max(axis=1) if outside.shape[1] else np.zeros(len(outside))
    return largest


def _local_means(maps: Floats, side: int) -> Floats:
    """Return the mean of every window of `side` x `side` inside the maps [N, T, h, w], by cumulative sums."""
    total = np.pad(maps.cumsum(axis=2).cumsum(axis=3), ((0, 0), (0, 0), (1, 0), (1, 0)))
    sums = total[..., side:, side:] - total[..., :-side, side:] - total[..., side:, :-side] + total[..., :-side, :-side]
    means: Floats = sums / side**2
    return means
