"""Metrics of subject fidelity, prompt fidelity, near copies and diversity, with 95 % intervals.

Pure functions on arrays. Letters: g generated images, r reference images of the subject, b images of the untouched
base for the same prompts and seeds. Embeddings are rows of unit length, so that a dot product is a cosine. A figure
that cannot be computed (no reference, one image) is NaN, never 0.

They follow DreamBooth (Ruiz et al. 2022, arXiv:2208.12242, section 4.1 and table 2): subject fidelity (DINO, CLIP-I),
prompt fidelity (CLIP-T) and diversity (DIV); `prior_drift` has the preservation of the class (PRES).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Attributes = Mapping[str, str]
"""Attributes of an image, or those that a prompt asks for, by group: {"hair color": "pink"}."""

BOOTSTRAP_DRAWS = 2000
PIXEL_SIDE = 16
"""Side of the small images whose pixels are compared to find near copies, pixels."""
TRIMMED = 0.1
"""Share of the values that a trimmed mean leaves out at each end."""
DOMINANT_SHARE = 0.8
"""Share of the training images that must show a value for it to count as the subject's."""
MIN_VISIBLE_SHARE = 0.6
"""Share of the subject's images in which the scorer must detect a named attribute for it to count."""
MIN_SHARE_GAP = 0.3
"""The base must show a subject's attribute less often by this share when prompted with the class word alone."""


# --- figures with intervals -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A figure, its 95 % interval and the number of images (or prompts) behind it."""

    value: float
    low: float
    high: float
    n: int

    @property
    def error(self) -> float:
        """Return the standard error of a normal distribution with an interval of this width."""
        return (self.high - self.low) / (2 * 1.959964)

    def to_json(self) -> dict[str, float | int | None]:
        """Return plain values; unknown figures are null, since JSON has no NaN."""
        return {k: null_if_nan(v) for k, v in (("value", self.value), ("low", self.low), ("high", self.high))} | {
            "n": self.n
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Interval:
        low, high, middle = (nan_if_null(value[k]) for k in ("low", "high", "value"))
        return Interval(middle, low, high, int(value["n"]))

    def scaled(self, factor: float) -> Interval:
        """Return the figure in another unit."""
        ends = sorted((self.low * factor, self.high * factor))
        return Interval(self.value * factor, ends[0], ends[1], self.n)


UNKNOWN = Interval(math.nan, math.nan, math.nan, 0)


def mean_interval(values: ArrayLike, *, seed: int = 0, draws: int = BOOTSTRAP_DRAWS) -> Interval:
    """Return the mean of `values` [N], NaN left out, with its percentile bootstrap interval (Efron 1979).

    Values are resampled with replacement `draws` times; the interval holds the middle 95 % of the means.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    x = x[~np.isnan(x)]
    if not len(x):
        return UNKNOWN
    rows = np.random.default_rng(seed).integers(0, len(x), (draws, len(x)))
    low, high = np.percentile(x[rows].mean(axis=1), (2.5, 97.5))
    return Interval(float(x.mean()), float(low), float(high), len(x))


def proportion(hits: ArrayLike) -> Interval:
    """Return the share of true values [N] with its Wilson score interval (Wilson 1927).

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n): unlike the bootstrap's, it has a width at 0 and at 1.
    """
    x = np.asarray(hits, dtype=bool).ravel()
    n, z = len(x), 1.959964
    if not n:
        return UNKNOWN
    p = float(x.mean())
    middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Interval(p, max(0.0, (middle - spread) / scale), min(1.0, round((middle + spread) / scale, 12)), n)


def trimmed_mean_interval(values: ArrayLike, *, seed: int = 0, draws: int = BOOTSTRAP_DRAWS) -> Interval:
    """Return the mean of `values` [N] without the `TRIMMED` largest and smallest, with its bootstrap interval.

    A few values far out, in either direction, change neither the mean nor its interval by much (Tukey 1962).
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    x = x[~np.isnan(x)]
    n, cut = len(x), int(TRIMMED * len(x))
    if not n:
        return UNKNOWN
    rows = np.random.default_rng(seed).integers(0, n, (draws, n))
    means = np.sort(x[rows], axis=1)[:, cut : n - cut].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(np.sort(x)[cut : n - cut].mean()), float(low), float(high), n)


def paired_difference(after: ArrayLike, before: ArrayLike, *, seed: int = 0) -> Interval:
    """Return the mean of after - before over images of the same prompt and seed, with its bootstrap interval."""
    a, b = np.asarray(after, dtype=np.float64), np.asarray(before, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"values must come in pairs: after has shape {a.shape}, before {b.shape}")
    return mean_interval(a - b, seed=seed)


# --- subject ----------------------------------------------------------------------------------------------------------


def similarity(generated: ArrayLike, references: ArrayLike) -> Floats:
    """Return each generated image's [N, D] mean cosine to the references [M, D]; its mean is DINO or CLIP-I."""
    g, r = _rows(generated), _rows(references)
    if not len(r):
        return np.full(len(g), math.nan)
    mean: Floats = g @ r.mean(axis=0)
    return mean


def self_similarity(references: ArrayLike) -> float:
    """Return the mean cosine over all pairs of different references ("real images" in the DreamBooth paper)."""
    r = _rows(references)
    n = len(r)
    if n < 2:
        return math.nan
    total = float(np.square(r.sum(axis=0)).sum() - np.square(r).sum())
    return total / (n * (n - 1))


def attribute_frequencies(images: Sequence[Attributes], attributes: Attributes) -> dict[str, float]:
    """Return for each attribute the share of images that show it."""
    return {g: float(np.mean([i.get(g) == v for i in images])) if images else math.nan for g, v in attributes.items()}


def dominant_attributes(images: Sequence[Attributes], *, ignore: Collection[str] = ()) -> dict[str, str]:
    """Return for each group the value that at least `DOMINANT_SHARE` of the images show, if there is one."""
    found: dict[str, str] = {}
    for group in dict.fromkeys(g for i in images for g in i):
        values = [i.get(group) for i in images]
        best = max(set(values), key=lambda v: (values.count(v), str(v)))
        if best is not None and group not in ignore and values.count(best) >= DOMINANT_SHARE * len(images):
            found[group] = best
    return found


def subject_attributes(
    training: Sequence[Attributes],
    base: Sequence[Attributes],
    *,
    held_out: Sequence[Attributes] = (),
    is_reliable: Callable[[str], bool] = lambda group: True,
) -> dict[str, str]:
    """Return the subject's attributes that count.

    They are dominant in its training images and in the held-out ones, by `MIN_SHARE_GAP` less frequent in the base's,
    and of groups that the scorer detects reliably.
    """
    dominant = dominant_attributes(training)
    found = {g: v for g, v in dominant.items() if is_reliable(g)}
    again = attribute_frequencies(held_out, found)
    in_training, in_base = attribute_frequencies(training, found), attribute_frequencies(base, found)
    return {
        g: v
        for g, v in found.items()
        if (not base or in_base[g] <= in_training[g] - MIN_SHARE_GAP) and not again[g] < DOMINANT_SHARE
    }


def attribute_share(
    images: Sequence[Attributes], attributes: Attributes, requested: Sequence[Collection[str]] | None = None
) -> Floats:
    """Return for each image the share of `attributes` that it shows [N].

    Args:
        images: the attributes detected in each image.
        attributes: what to look for.
        requested: for each image the groups that its prompt asks for; they are not counted.
    """
    shares = []
    for i, shown in enumerate(images):
        counted = [g for g in attributes if requested is None or g not in requested[i]]
        shares.append(np.mean([shown.get(g) == attributes[g] for g in counted]) if counted else math.nan)
    return np.asarray(shares, dtype=np.float64)


def visible_attributes(training: Sequence[Attributes], named: Attributes) -> dict[str, str]:
    """Return those of the named attributes that the scorer detects in most of the subject's own images."""
    return {g: v for g, v in named.items() if attribute_frequencies(training, {g: v})[g] >= MIN_VISIBLE_SHARE}


# --- prompt -----------------------------------------------------------------------------------------------------------


def prompt_retention(after: ArrayLike, base: ArrayLike, floor: float = 0.0, *, seed: int = 0) -> Interval:
    """Return 1 + mean(after - base) / (mean(base) - floor): prompt fidelity as a share of the base's.

    Args:
        after: prompt scores of the adapter's images [N].
        base: prompt scores of the base's images for the same prompts and seeds [N].
        floor: the mean score for prompts that do not belong to the image: 0 for a tagger, about 0.15 for CLIP.
        seed: seed of the bootstrap, which draws pairs.
    """
    a, b = np.asarray(after, dtype=np.float64), np.asarray(base, dtype=np.float64)
    known = ~np.isnan(a) & ~np.isnan(b)
    scale = float(b[known].mean()) - floor if known.any() else 0.0
    if not scale > 0:
        return UNKNOWN
    change = mean_interval(a[known] - b[known], seed=seed)
    value, low, high = (1 + end / scale for end in (change.value, change.low, change.high))
    return Interval(value, low, high, change.n)


# --- diversity --------------------------------------------------------------------------------------------------------


def diversity(embeddings: ArrayLike, groups: Sequence[object], *, seed: int = 0) -> Interval:
    """Return the mean of 1 - cosine over pairs of images [N, D] of one group (a prompt); intervals over groups.

    DreamBooth's DIV uses LPIPS as the distance. Embeddings work for every scorer and respond to pose and place as well.
    """
    e = _rows(embeddings)
    where: dict[object, list[int]] = {}
    for i, group in enumerate(groups):
        where.setdefault(group, []).append(i)
    spread = [1.0 - self_similarity(e[rows]) for rows in where.values() if len(rows) > 1]
    return mean_interval(spread, seed=seed)


# --- memorization -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NearCopies:
    """How many images are near copies of a training image; shares of the images."""

    share: Interval
    """Near by embedding and by pixels at once."""
    by_embedding: float
    by_pixels: float
    nearest: tuple[int, ...]
    """For each image the index of the nearest training image by embedding."""

    def to_json(self) -> dict[str, Any]:
        return {
            "share": self.share.to_json(),
            "by_embedding": null_if_nan(self.by_embedding),
            "by_pixels": null_if_nan(self.by_pixels),
            "nearest": list(self.nearest),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> NearCopies:
        unknown = {k: nan_if_null(value[k]) for k in ("by_embedding", "by_pixels")}
        nearest = tuple(int(i) for i in value["nearest"])
        return NearCopies(Interval.from_json(value["share"]), unknown["by_embedding"], unknown["by_pixels"], nearest)


def near_copies(generated: ArrayLike, training: ArrayLike, small: ArrayLike, training_small: ArrayLike) -> NearCopies:
    """Count images that are closer to one training image than training images are to each other.

    An image is near a training image if their distance is below the 5th percentile of the training images' distances
    to their nearest neighbours. It counts if it is near one by embedding (what is shown) and by pixels (how): with
    simple images another view of the same scene can have the same embedding without being a copy.

    Args:
        generated: embeddings [N, D].
        training: embeddings [M, D]; with fewer than 3 the result is unknown.
        small: pixels [N, P] of small images, see `small_pixels`.
        training_small: pixels [M, P].
    """
    g, t = _rows(generated), _rows(training)
    if not len(g) or len(t) < 3:
        return NearCopies(UNKNOWN, math.nan, math.nan, tuple(np.argmax(g @ t.T, axis=1).tolist()) if len(t) else ())
    near_e, near_p = _near(g, t, _rows(small), _rows(training_small))
    by_embedding, by_pixels, both = (near.any(axis=1) for near in (near_e, near_p, near_e & near_p))
    nearest = tuple((1.0 - g @ t.T).argmin(axis=1).tolist())
    return NearCopies(proportion(both), float(by_embedding.mean()), float(by_pixels.mean()), nearest)


def near_copy_rows(
    generated: ArrayLike, training: ArrayLike, small: ArrayLike, training_small: ArrayLike
) -> NDArray[np.bool_]:
    """Return which images are near copies of a training image [N], see `near_copies`; none with fewer than 3."""
    g, t = _rows(generated), _rows(training)
    if not len(g) or len(t) < 3:
        return np.zeros(len(g), dtype=bool)
    by_embedding, by_pixels = _near(g, t, _rows(small), _rows(training_small))
    return np.asarray((by_embedding & by_pixels).any(axis=1))


def _near(g: Floats, t: Floats, p: Floats, q: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which images are near which training images by embedding, and by pixels, [N, M] each."""
    by_embedding = 1.0 - g @ t.T < _nearest_neighbor_threshold(1.0 - t @ t.T)
    return by_embedding, root_mean_square(p, q) < _nearest_neighbor_threshold(root_mean_square(q, q))


def small_pixels(images: Sequence[Any]) -> Floats:
    """Return PIL images as rows of pixels in 0..1 [N, PIXEL_SIDE x PIXEL_SIDE x 3]."""
    from PIL import Image

    size = (PIXEL_SIDE, PIXEL_SIDE)
    rows = [
        np.asarray(i.convert("RGB").resize(size, Image.Resampling.BOX), dtype=np.float64).ravel() / 255 for i in images
    ]
    return np.stack(rows) if rows else np.zeros((0, PIXEL_SIDE * PIXEL_SIDE * 3))


def _nearest_neighbor_threshold(distances: Floats) -> float:
    """Return the 5th percentile of the distances [M, M] to the nearest other row."""
    others = distances + np.where(np.eye(len(distances), dtype=bool), math.inf, 0.0)
    return float(np.percentile(others.min(axis=1), 5))


def root_mean_square(a: Floats, b: Floats) -> Floats:
    """Return the RMS distances [N, M] between rows, from |a - b|² = |a|² - 2ab + |b|²: no [N, M, P] array."""
    squares = np.square(a).sum(axis=1)[:, None] - 2 * a @ b.T + np.square(b).sum(axis=1)[None]
    distances: Floats = np.sqrt(np.maximum(squares, 0.0) / a.shape[1])
    return distances


def _rows(values: ArrayLike) -> Floats:
    rows = np.asarray(values, dtype=np.float64)
    return rows if rows.ndim == 2 else rows.reshape(len(rows), -1)


def known_mean(values: Floats) -> float:
    """Return the mean of the values that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def null_if_nan(value: float) -> float | None:
    """Return a figure for JSON, which has no NaN."""
    return None if math.isnan(value) else float(value)


def nan_if_null(value: float | None) -> float:
    """Return a figure from JSON."""
    return math.nan if value is None else float(value)
