"""Own marks: regions that a subject's photos share and that the base's images of the class lack.

An image is a grid of patches, each a vector of the scorer's network (`ImageScorer.patches`). A mark is a prototype in
that space to which nearly every photo has a similar patch and hardly any base image has: an eyepatch, a logo, the
colour of the hair. It is searched as in mid-level patch discovery (Singh, Gupta & Efros 2012, arXiv:1205.3137;
Doersch et al. 2012, "What makes Paris look like Paris?"), in a space
whitened by the base's own patches (exemplar LDA: Hariharan, Malik & Ramanan 2012), in which what every image of the
class shows counts little. Pure functions on arrays.

    marks = find_marks(scorer.patches(photos), scorer.patches(base_images))
    shown = marks.look_at(scorer.patches(generated))
    marks.marks[0].in_photos, shown.shares()[0]         # "in 94 % of the photos, in 0 % of the images"
    shown.boxes[i, 0]                                   # where to crop image i

A mark says that something of the photos is missing, never that the rest is right: what the network does not
distinguish, and what photos and base images share, is no mark. A base image has a mark by chance in about 5 % of cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bakehouse.evaluation.metrics import Floats, Interval, proportion

Features = NDArray[np.float32]

MAX_MARKS = 10
PHOTO_SHARE = 0.8
"""Share of the photos that must show a mark."""
BASE_SHARE = 0.05
"""Share of the base's images that may show it."""
MIN_PHOTOS = 4
MIN_BASE_IMAGES = 8
"""With fewer photos or base images nothing is called a mark: it would be chance."""
MAX_PHOTOS = 32
MIN_MARGIN = 0.4
"""A mark with less than this share of the first one's margin ends the search: later ones are chance more and more."""
MAX_CANDIDATES = 1024
"""Patches that are tried as prototypes, evenly spaced over the photos."""


@dataclass(frozen=True)
class Patches:
    """Patch features of N images."""

    features: Features
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
    """Patch features centred on the base's patches and whitened by their covariance."""

    mean: Floats
    """[D]"""
    whitening: Floats
    """[D, D]"""

    @classmethod
    def fit(cls, base: Patches) -> PatchSpace:
        """Fit to the base's images; the covariance is shrunk towards a multiple of the identity (Ledoit-Wolf)."""
        x = np.asarray(base.features, dtype=np.float64).reshape(-1, base.features.shape[2])
        mean = x.mean(axis=0) if len(x) else np.zeros(x.shape[1])
        x = x - mean
        count, width = x.shape
        covariance = x.T @ x / max(1, count)
        scale = float(np.trace(covariance)) / width
        if scale <= 0:
            return cls(mean, np.eye(width))
        distance = float(np.square(covariance - scale * np.eye(width)).sum())
        noise = float(np.square(np.square(x).sum(axis=1)).sum()) / count**2 - float(np.square(covariance).sum()) / count
        shrinkage = min(1.0, max(1e-3, noise / distance)) if distance > 0 else 1.0
        values, vectors = np.linalg.eigh((1 - shrinkage) * covariance + shrinkage * scale * np.eye(width))
        return cls(mean, (vectors / np.sqrt(values)) @ vectors.T)

    def project(self, patches: Patches) -> Features:
        """Return whitened features [N, P, D]."""
        z: Features = ((patches.features - self.mean) @ self.whitening).astype(np.float32)
        return z


@dataclass(frozen=True)
class Mark:
    """A mark of the subject."""

    prototype: Features
    """[D], unit length, in the whitened space and at right angles to the marks before it."""
    threshold: float
    """An image shows the mark if one of its patches has this cosine to the prototype, earlier marks taken away."""
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
    """The marks of a subject in the order of their discovery; none if nothing sets its photos apart."""

    space: PatchSpace
    marks: tuple[Mark, ...]

    def look_at(self, patches: Patches) -> Shown:
        """Look for every mark in N images."""
        count = len(self.marks)
        if not count or not len(patches):
            shape = (len(patches), count)
            return Shown(np.zeros(shape), np.zeros(shape, dtype=bool), np.zeros((*shape, 4)))
        maps = self._similarity(patches)
        thresholds = np.array([mark.threshold for mark in self.marks])
        best = maps.max(axis=1)
        boxes = [
            [region_box(maps[i, :, k], patches.grid, thresholds[k]) for k in range(count)] for i in range(len(maps))
        ]
        return Shown(best, best >= thresholds, np.asarray(boxes))

    def _similarity(self, patches: Patches) -> Floats:
        """Return the cosine of every patch to each prototype [N, P, K], without what earlier marks explain of it."""
        z = self.space.project(patches).astype(np.float64)
        along = z @ np.stack([mark.prototype for mark in self.marks]).T
        # Prototypes are orthogonal, since each was found after the ones before it were removed.
        explained = np.cumsum(np.square(along), axis=2) - np.square(along)
        rest = np.square(z).sum(axis=2, keepdims=True) - explained
        cosines: Floats = along / np.sqrt(np.maximum(rest, 1e-12))
        return cosines


def find_marks(photos: Patches, base: Patches, *, max_marks: int = MAX_MARKS) -> OwnMarks:
    """Find the marks that set a subject's photos apart from the base's images of its class.

    Every patch of a photo is tried as a prototype. It is a mark if, with the prototype averaged over its matches in the
    photos, at least `PHOTO_SHARE` of the photos are more similar to it than all but `BASE_SHARE` of the base's images.
    The best is taken and its direction removed from all patches before the next is sought: each mark says something
    that those before it do not, also at the same place (glasses beside hair of a rare colour).

    Args:
        photos: patches of the subject's own images; of many, `MAX_PHOTOS`.
        base: patches of the untouched base's images of the class. What the photos share with them is no mark: their
            prompts should vary as the evaluation's do.
        max_marks: the most that are returned.

    Raises:
        ValueError: the grids differ.
    """
    if photos.grid != base.grid:
        raise ValueError(f"grids differ: {photos.grid} and {base.grid}")
    space = PatchSpace.fit(base)
    if len(photos) < MIN_PHOTOS or len(base) < MIN_BASE_IMAGES:
        return OwnMarks(space, ())
    z, y = space.project(photos[_evenly_spaced(len(photos), MAX_PHOTOS)]), space.project(base)
    marks: list[Mark] = []
    while len(marks) < max_marks:
        mark = _best_mark(_unit(z), _unit(y))
        if mark is None or (marks and mark.margin < MIN_MARGIN * marks[0].margin):
            break
        marks.append(mark)
        z, y = (x - (x @ mark.prototype)[..., None] * mark.prototype for x in (z, y))
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
    peak = divmod(int(values.argmax()), columns)
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


def _best_mark(z: Features, y: Features) -> Mark | None:
    """Return the mark that sets photos [N, P, D] apart from base images [M, P, D] most; rows have unit length."""
    count, size, _ = z.shape
    tried = _evenly_spaced(count * size, MAX_CANDIDATES)
    candidates = z.reshape(count * size, -1)[tried]
    among = _best_patch(candidates, z)
    among[np.arange(len(tried)), tried // size] = math.nan
    gaps = np.nanquantile(among, 1 - PHOTO_SHARE, axis=1)
    gaps -= np.quantile(_best_patch(candidates, y), 1 - BASE_SHARE, axis=1)
    best = int(gaps.argmax())
    return _grow(candidates[best], z, y) if gaps[best] > 0 else None


def _grow(seed: Features, z: Features, y: Features, rounds: int = 3) -> Mark | None:
    """Return the mark that grows from a patch [D]; None if it does not set the photos apart."""
    prototype, every = seed, np.arange(len(z))
    for _ in range(rounds):
        matches = z[every, (z @ prototype).argmax(axis=1)]
        prototype = _unit(matches.sum(axis=0))
    matches = z[every, (z @ prototype).argmax(axis=1)]
    others = _unit(matches.sum(axis=0) - matches)
    in_photos = np.einsum("npd,nd->np", z, others).max(axis=1).astype(np.float64)
    in_base = (y @ prototype).max(axis=1).astype(np.float64)
    low, high = float(np.quantile(in_photos, 1 - PHOTO_SHARE)), float(np.quantile(in_base, 1 - BASE_SHARE))
    if low <= high:
        return None
    threshold = (low + high) / 2
    shares = proportion(in_photos >= threshold), proportion(in_base >= threshold)
    return Mark(prototype, threshold, *shares, low - high, int(in_photos.argmax()))


def _best_patch(candidates: Features, images: Features) -> Floats:
    """Return each candidate's cosine to the most similar patch of each image [C, N]."""
    # One image at a time: the whole array [C, N, P] may not fit into memory.
    return np.stack([(candidates @ image.T).max(axis=1) for image in images], axis=1).astype(np.float64)


def _unit(vectors: Features) -> Features:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Features = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit


def _evenly_spaced(count: int, most: int) -> NDArray[np.intp]:
    """Return at most `most` of the indices below `count`, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))
