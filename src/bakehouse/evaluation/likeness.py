"""Likeness of images to a subject: cosines between whitened embeddings, which look-alikes do not pass.

A plain cosine counts background, framing and expression as much as who is shown. Here embeddings are centred on the
base's images of the class and divided by the covariance within subjects (linear discriminant analysis, Fisher 1936):
what varies among images of one subject does not count, and another subject lies in another direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bakehouse.evaluation.metrics import Floats, self_similarity

FOLDS = 4
"""Parts into which the subject's images are split to compare each with a whitening that did not see it."""


@dataclass(frozen=True)
class Whitening:
    """z = W^(-1/2) (e - center), of unit length; W is the covariance within subjects."""

    center: Floats
    """[D]."""
    matrix: Floats
    """W^(-1/2), [D, D]."""

    def __call__(self, embeddings: ArrayLike) -> Floats:
        """Return whitened embeddings [N, D] of unit length; one at the center stays 0."""
        z = (np.asarray(embeddings, dtype=np.float64) - self.center) @ self.matrix
        rows: Floats = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
        return rows


def fit_whitening(groups: Sequence[ArrayLike], class_images: ArrayLike) -> Whitening:
    """Return the whitening by the covariance within groups of images [n, D], each of one subject.

    Args:
        groups: embeddings of images of one subject each, photos or images of one description; those of one image say
            nothing of the covariance. With fewer than two deviations embeddings are only centred.
        class_images: embeddings of the base's images of the class [M, D].
    """
    center = np.asarray(class_images, dtype=np.float64).mean(axis=0)
    arrays = [np.asarray(g, dtype=np.float64) for g in groups]
    deviations = [a - a.mean(axis=0) for a in arrays if len(a) > 1]
    if not deviations or not any(np.any(np.abs(d) > 1e-9) for d in deviations):
        return Whitening(center, np.eye(len(center)))
    covariance, _ = ledoit_wolf(np.concatenate(deviations))
    values, vectors = np.linalg.eigh(covariance)
    # Where nothing varies, and nothing was shrunk, the smallest variance is that of rounding.
    values = np.maximum(values, 1e-6 * values.max())
    return Whitening(center, (vectors / np.sqrt(values)) @ vectors.T)


def ledoit_wolf(deviations: ArrayLike) -> tuple[Floats, float]:
    """Return the covariance [D, D] of deviations from a mean [N, D], shrunk towards a multiple of the identity.

    Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices": the second result is
    the weight of the identity, from 0 to 1.
    """
    x = np.asarray(deviations, dtype=np.float64)
    n, d = x.shape
    sample = x.T @ x / n
    mean = float(np.trace(sample)) / d
    distance = float(np.square(sample - mean * np.eye(d)).sum())
    error = float(np.square(np.square(x).sum(axis=1)).sum() / n - np.square(sample).sum()) / n
    weight = min(1.0, max(0.0, error / distance)) if distance > 0 else 1.0
    return weight * mean * np.eye(d) + (1 - weight) * sample, weight


def own_similarity(images: ArrayLike, groups: Sequence[ArrayLike], class_images: ArrayLike) -> Floats:
    """Return each image's [N, D] mean cosine to the others of its subject, by a whitening that saw none of its part.

    Args:
        images: embeddings of the subject's images; with fewer than 3 the values are NaN.
        groups: the other groups for `fit_whitening`.
        class_images: see `fit_whitening`.
    """
    e = np.asarray(images, dtype=np.float64)
    n = len(e)
    found = np.full(n, math.nan)
    if n < 3:
        if n == 2:
            found[:] = self_similarity(fit_whitening(groups, class_images)(e))
        return found
    part = np.arange(n) % min(FOLDS, n)
    for k in range(int(part.max()) + 1):
        whitening = fit_whitening([e[part != k], *groups], class_images)
        found[part == k] = whitening(e[part == k]) @ whitening(e[part != k]).mean(axis=0)
    return found
