"""Spherical k-means clustering, with the number of clusters chosen by silhouette."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bakehouse.vision.image_embeddings import Floats, normalize_rows

Labels = NDArray[np.int64]

MAX_CLUSTERS = 12
"""Most clusters to try if the number is not given."""
_ITERATIONS = 50


def cluster(vectors: Floats, count: int | None = None) -> Labels:
    """Return the cluster [N] of each of the unit vectors [N, D]; deterministic.

    Clusters are numbered from the largest. Without `count`, the number in 2..12 with the highest silhouette is used
    (Rousseeuw 1987); fewer than four vectors form one cluster.
    """
    if count is not None:
        return _number_by_size(kmeans(vectors, min(count, len(vectors))))
    if len(vectors) < 4:
        return np.zeros(len(vectors), np.int64)
    tried = [kmeans(vectors, k) for k in range(2, min(MAX_CLUSTERS, len(vectors) - 1) + 1)]
    return _number_by_size(max(tried, key=lambda labels: silhouette(vectors, labels)))


def kmeans(vectors: Floats, count: int) -> Labels:
    """Return the clusters [N] of spherical k-means (Dhillon and Modha 2001), initialised by farthest-first."""
    centroids = _farthest_first(vectors, count)
    labels = np.full(len(vectors), -1, np.int64)
    for _ in range(_ITERATIONS):
        nearest = (vectors @ centroids.T).argmax(1)
        if (nearest == labels).all():
            break
        labels = nearest
        sums = np.stack([vectors[labels == k].sum(0) for k in range(count)])
        empty = np.linalg.norm(sums, axis=1) < 1e-12
        centroids = np.where(empty[:, None], centroids, normalize_rows(sums))
    return labels


def _farthest_first(vectors: Floats, count: int) -> Floats:
    """Return the vector nearest to the mean, then repeatedly the one farthest from those chosen."""
    chosen = [int((vectors @ vectors.mean(0)).argmax())]
    while len(chosen) < count:
        chosen.append(int((vectors @ vectors[chosen].T).max(1).argmin()))
    return vectors[chosen]


def silhouette(vectors: Floats, labels: Labels) -> float:
    """Return the mean of (b - a) / max(a, b), the mean distances a to the own and b to the nearest other cluster."""
    apart = 1 - vectors @ vectors.T
    groups = np.unique(labels)
    sums = np.stack([apart[:, labels == k].sum(1) for k in groups], 1)
    sizes = np.array([(labels == k).sum() for k in groups])
    own = np.searchsorted(groups, labels)
    rows = np.arange(len(vectors))
    a = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    others = sums / sizes
    others[rows, own] = np.inf
    b = others.min(1)
    # A cluster of one vector scores 0.
    scores = np.where(sizes[own] > 1, (b - a) / np.maximum(np.maximum(a, b), 1e-12), 0.0)
    return float(scores.mean())


def _number_by_size(labels: Labels) -> Labels:
    groups, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    order = sorted(range(len(groups)), key=lambda k: (-sizes[k], first[k]))
    places = {groups[k]: place for place, k in enumerate(order)}
    return np.array([places[label] for label in labels], np.int64)
