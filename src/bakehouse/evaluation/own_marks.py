"""Own marks: regions that a subject's photos share and that the base's images of the class lack, found without words.

An image is a grid of patches, each a vector of the scorer's network (`ImageScorer.patches`). A mark is a prototype in
that space to which nearly every photo has a similar patch and hardly any base image has: an eyepatch, a logo, the
colour of the hair. It is searched as in mid-level patch discovery (Singh, Gupta & Efros 2012, arXiv:1205.3137; Doersch
et al. 2012, "What makes Paris look like Paris?"), in a space whitened by the base's own patches (exemplar LDA: Hariharan,
Malik & Ramanan 2012), in which what every image of the class shows counts little. Pure functions on arrays.

    marks = find_marks(scorer.patches(photos), scorer.patches(base_images))
    shown = marks.look_at(scorer.patches(generated))
    marks.marks[0].in_photos, shown.shares()[0]         # "in 94 % of the photos, in 0 % of the images"
    shown.boxes[i, 0]                                   # where to crop image i

A mark says that something of the photos is missing, never that the rest is right: what the network does not
distinguish, and what photos and base images share, is no mark. A base image has a mark by chance in about 5 % of cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bakehouse.evaluation.metrics import Floats, Interval, proportion

MAX_MARKS = 6
PHOTO_SHARE = 0.8
"""Share of the photos that must show a mark."""
BASE_SHARE = 0.05
"""Share of the base's images that may show it."""
MIN_PHOTOS = 4
MIN_BASE_IMAGES = 8
"""With fewer photos or base images nothing is called a mark: it would be chance."""
MAX_PHOTOS = 32
MAX_CANDIDATES = 1024
"""Patches that are tried as prototypes, evenly spaced over the photos."""


@dataclass(frozen=True)
class Patches:
    """Patch features of N images."""

    features: NDArray[np.float32]
    """[N, P, D], the patches row by row from the top left."""
    grid: tuple[int, int]
    """Rows and columns; their product is P. The grid covers the whole image."""

    def __post_init__(self) -> None:
        rows, columns = self.grid
        if self.features.ndim != 3 or self.features.shape[1] != rows * columns:
            raise ValueError(
                f"features are {self.features.shape}: expected [N, {rows * columns}, D] for a {self.grid} grid"
            )

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.integer]) -> Patches:
        return Patches(self.features[rows], self.grid)


@dataclass(frozen=True)
class PatchSpace:
    """Patch features centred on the base's patches and whitened by their covariance; rows of unit length."""

    mean: Floats
    """[D]"""
    whitening: Floats
    """[D, D]"""

    @classmethod
    def fit(cls, base: Patches) -> PatchSpace:
        """Fit to the base's images; the covariance is shrunk towards a multiple of the identity (Ledoit & Wolf 2004)."""
        x = np.asarray(base.features, dtype=np.float64).reshape(-1, base.features.shape[2])
        mean = x.mean(axis=0)
        x = x - mean
        count, width = x.shape
        covariance = x.T @ x / count
        scale = float(np.trace(covariance)) / width
        if scale <= 0:
            return cls(mean, np.eye(width))
        distance = float(np.square(covariance - scale * np.eye(width)).sum())
        noise = float(np.square(np.square(x).sum(axis=1)).sum()) / count**2 - float(np.square(covariance).sum()) / count
        shrinkage = min(1.0, max(1e-3, noise / distance)) if distance > 0 else 1.0
        values, vectors = np.linalg.eigh((1 - shrinkage) * covariance + shrinkage * scale * np.eye(width))
        return cls(mean, (vectors / np.sqrt(values)) @ vectors.T)

    def project(self, patches: Patches) -> NDArray[np.float32]:
        """Return whitened features [N, P, D], rows of unit length: a dot product is a cosine."""
        z = (np.asarray(patches.features, dtype=np.float64) - self.mean) @ self.whitening
        unit: NDArray[np.float32] = (z / np.maximum(np.linalg.norm(z, axis=2, keepdims=True), 1e-12)).astype(np.float32)
        return unit


@dataclass(frozen=True)
class Mark:
    """A mark of the subject."""

    prototype: NDArray[np.float32]
    """[D], unit length, in the whitened space."""
    threshold: float
    """An image shows the mark if one of its patches has this cosine to the prototype."""
    in_photos: Interval
    """Share of the photos that show it; each is compared with a prototype made from the others."""
    in_base: Interval
    """Share of the base's images that show it."""
    margin: float
    """Cosine between the photos' 20th percentile and the base images' 95th; the threshold is half way."""
    example: int
    """The photo that shows it best."""


@dataclass(frozen=True)
class Shown:
    """Which of K marks N images show, and where."""

    similarity: Floats
    """[N, K]: cosine of the most similar patch."""
    present: NDArray[np.bool_]
    """[N, K]"""
    boxes: Floats
    """[N, K, 4]: left, top, right and bottom of that patch's region as shares of the image's sides; where the mark is
    absent, the place that comes nearest to it."""

    def shares(self) -> list[Interval]:
        """Return the share of the images that show each mark, with its Wilson interval."""
        return [proportion(column) for column in self.present.T]


@dataclass(frozen=True)
class OwnMarks:
    """The marks of a subject, best first; none if nothing sets its photos apart."""

    space: PatchSpace
    marks: tuple[Mark, ...]

    def look_at(self, patches: Patches) -> Shown:
        """Look for every mark in N images."""
        count = len(self.marks)
        if not count or not len(patches):
            shape = (len(patches), count)
            return Shown(np.zeros(shape), np.zeros(shape, dtype=bool), np.zeros((*shape, 4)))
        prototypes = np.stack([mark.prototype for mark in self.marks])
        maps = (self.space.project(patches) @ prototypes.T).astype(np.float64)
        thresholds = np.array([mark.threshold for mark in self.marks])
        best = maps.max(axis=1)
        boxes = [
            [region_box(maps[i, :, k], patches.grid, thresholds[k]) for k in range(count)] for i in range(len(maps))
        ]
        return Shown(best, best >= thresholds, np.asarray(boxes))


def find_marks(photos: Patches, base: Patches, *, max_marks: int = MAX_MARKS) -> OwnMarks:
    """Find the marks that set a subject's photos apart from the base's images of its class.

    Every patch of a photo is tried as a prototype. It is a mark if, with the prototype averaged over its matches in the
    photos, at least `PHOTO_SHARE` of the photos are more similar to it than all but `BASE_SHARE` of the base's images.
    Patches that a better mark covers already are left out, so that one eyepatch is not six marks.

    Args:
        photos: patches of the subject's own images.
        base: patches of the untouched base's images of the class. What the photos share with them is no mark: their
            prompts should vary as the evaluation's do.
        max_marks: the most that are returned.

    Raises:
        ValueError: the grids differ.
    """
    if photos.grid != base.grid:
        raise ValueError(f"grids differ: {photos.grid} and {base.grid}")
    space = (
        PatchSpace.fit(base)
        if len(base)
        else PatchSpace(np.zeros(photos.features.shape[2]), np.eye(photos.features.shape[2]))
    )
    if len(photos) < MIN_PHOTOS or len(base) < MIN_BASE_IMAGES:
        return OwnMarks(space, ())
    some = photos[_evenly_spaced(len(photos), MAX_PHOTOS)]
    z, y = space.project(some), space.project(base)
    n, p, _ = z.shape
    tried = _evenly_spaced(n * p, MAX_CANDIDATES)
    candidates = z.reshape(n * p, -1)[tried]
    among = _best_patch(candidates, z)
    among[np.arange(len(tried)), tried // p] = np.nan
    gaps = _gap(among, _best_patch(candidates, y))
    covered = np.zeros((n, p), dtype=bool)
    marks: list[Mark] = []
    for row in np.argsort(-gaps):
        if len(marks) == max_marks or gaps[row] <= 0:
            break
        if covered.reshape(-1)[tried[row]]:
            continue
        mark, maps = _make_mark(candidates[row], z, y)
        places = maps.argmax(axis=1)
        if mark is None or covered[np.arange(n), places].mean() > 0.5:
            continue
        marks.append(mark)
        covered |= maps >= mark.threshold
    return OwnMarks(space, tuple(marks))


def region_box(similarity: ArrayLike, grid: tuple[int, int], threshold: float) -> tuple[float, float, float, float]:
    """Return the box of the most similar patch and its neighbours above the threshold, with a margin of one patch.

    Args:
        similarity: the cosine of each patch to the prototype [P].
        grid: rows and columns of the patches.
        threshold: patches from here on belong to the region, if they touch it.

    Returns:
        Left, top, right and bottom as shares of the image's width and height.
    """
    rows, columns = grid
    values = np.asarray(similarity, dtype=np.float64).reshape(rows, columns)
    peak = np.unravel_index(int(values.argmax()), values.shape)
    region, waiting = {peak}, [peak]
    while waiting:
        y, x = waiting.pop()
        for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            inside = 0 <= near[0] < rows and 0 <= near[1] < columns
            if inside and near not in region and values[near] >= threshold:
                region.add(near)
                waiting.append(near)
    top, bottom = min(y for y, _ in region) - 1, max(y for y, _ in region) + 2
    left, right = min(x for _, x in region) - 1, max(x for _, x in region) + 2
    return max(0, left) / columns, max(0, top) / rows, min(columns, right) / columns, min(rows, bottom) / rows


def _make_mark(
    seed: NDArray[np.float32], z: NDArray[np.float32], y: NDArray[np.float32], rounds: int = 3
) -> tuple[Mark | None, NDArray[np.float32]]:
    """Return the mark that grows from a patch, None if it does not set the photos apart, and its similarity [N, P]."""
    prototype, every = seed, np.arange(len(z))
    for _ in range(rounds):
        matches = z[every, (z @ prototype).argmax(axis=1)]
        prototype = _unit(matches.sum(axis=0))
    maps = z @ prototype
    matches = z[every, maps.argmax(axis=1)]
    others = np.stack([_unit(matches.sum(axis=0) - match) for match in matches])
    photo_scores = np.einsum("npd,nd->np", z, others).max(axis=1).astype(np.float64)
    base_scores = (y @ prototype).max(axis=1).astype(np.float64)
    low, high = np.quantile(photo_scores, 1 - PHOTO_SHARE), np.quantile(base_scores, 1 - BASE_SHARE)
    if low <= high:
        return None, maps
    threshold = float(low + high) / 2
    in_photos, in_base = proportion(photo_scores >= threshold), proportion(base_scores >= threshold)
    margin, example = float(low - high), int(photo_scores.argmax())
    return Mark(prototype, threshold, in_photos, in_base, margin, example), maps


def _best_patch(candidates: NDArray[np.float32], images: NDArray[np.float32]) -> Floats:
    """Return each candidate's cosine to the most similar patch of each image [C, N]; one image at a time, for memory."""
    return np.stack([(candidates @ image.T).max(axis=1) for image in images], axis=1).astype(np.float64)


def _gap(photos: Floats, base: Floats) -> Floats:
    """Return how far the photos' lower quantile is above the base's upper one, per candidate [C]; NaN are left out."""
    gap: Floats = np.nanquantile(photos, 1 - PHOTO_SHARE, axis=1) - np.quantile(base, 1 - BASE_SHARE, axis=1)
    return gap


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return unit


def _evenly_spaced(count: int, most: int) -> NDArray[np.intp]:
    """Return at most `most` of the indices below `count`, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))
