"""Metrics of subject fidelity, prompt fidelity, prior drift, near copies and diversity, with 95 % intervals.

Pure functions on arrays. Letters: g generated images, r reference images of the subject, b images of the untouched
base for the same prompts and seeds. Embeddings are rows of unit length, so that a dot product is a cosine. A figure
that cannot be computed (no reference, one image) is NaN, never 0.

The first four measures are those of DreamBooth (Ruiz et al. 2022, arXiv:2208.12242, section 4.1 and table 2):
subject fidelity (DINO, CLIP-I), prompt fidelity (CLIP-T), preservation of the class (PRES) and diversity (DIV).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
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
MIN_GAP = 0.02
"""Cosine: with a smaller gap the embedding cannot tell base and references apart."""
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
        return {k: _null_if_nan(v) for k, v in (("value", self.value), ("low", self.low), ("high", self.high))} | {
            "n": self.n
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Interval:
        low, high, middle = (math.nan if value[k] is None else float(value[k]) for k in ("low", "high", "value"))
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


def likeness(similarities: ArrayLike, base: float, real: float) -> Floats:
    """Return (s - base) / (real - base), at most 1: 0 is the base's images of the class, 1 the subject's own images.

    A raw cosine says little: two different persons in front of one wall may score 0.6.

    Args:
        similarities: each generated image's mean cosine to the references [N].
        base: the mean of the same for the base's images.
        real: mean cosine of the references with each other. All values are NaN if it does not exceed `base` by
            `MIN_GAP`.

    Values below the base stay negative; otherwise the mean over images of the untouched base would exceed 0.
    """
    s = np.asarray(similarities, dtype=np.float64)
    if not real - base >= MIN_GAP:
        return np.full(s.shape, math.nan)
    cut: Floats = np.clip((s - base) / (real - base), -1.0, 1.0)
    return cut


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
    training: Sequence[Attributes], base: Sequence[Attributes], *, ignore: Collection[str] = ()
) -> dict[str, str]:
    """Return the subject's attributes: dominant in its images, and by `MIN_SHARE_GAP` less frequent in the base's."""
    found = dominant_attributes(training, ignore=ignore)
    in_training, in_base = attribute_frequencies(training, found), attribute_frequencies(base, found)
    return {g: v for g, v in found.items() if not base or in_base[g] <= in_training[g] - MIN_SHARE_GAP}


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


def subject_scores(likenesses: ArrayLike, shares: ArrayLike) -> Floats:
    """Return for each image the mean of its likeness by embedding and by attributes, or the known one of the two."""
    both = np.stack([np.asarray(likenesses, dtype=np.float64), np.asarray(shares, dtype=np.float64)])
    known = ~np.isnan(both)
    total, count = np.where(known, both, 0).sum(axis=0), known.sum(axis=0)
    scores: Floats = np.where(count > 0, total / np.maximum(count, 1), math.nan)
    return scores


# --- prompt -----------------------------------------------------------------------------------------------------------


def prompt_retention(after: float, base: float, floor: float = 0.0) -> float:
    """Return (after - floor) / (base - floor): prompt fidelity as a share of the base's.

    Args:
        after: mean prompt score of the adapter's images.
        base: mean prompt score of the base's images.
        floor: the mean score for prompts that do not belong to the image: 0 for a tagger, about 0.15 for CLIP.
    """
    return (after - floor) / (base - floor) if base > floor else math.nan


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


# --- prior drift ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drift:
    """Change of the class without the trigger, relative to the base with the same prompts and seeds; all in points."""

    points: Interval
    """The largest of likeness, attributes and prompt, at least 0."""
    likeness: Interval
    """How far class images moved towards the subject: 100 = the distance from the base to the subject."""
    attributes: Interval
    """Mean increase of how often class images show the subject's attributes."""
    each: Mapping[str, float]
    """The increase for each attribute."""
    prompt: Interval
    """Loss of prompt accuracy on class and other-class prompts."""
    shift: Interval
    """Class shift, the distance that class images moved in any direction: 100 = the distance from base to subject."""

    def to_json(self) -> dict[str, Any]:
        figures = {name: getattr(self, name).to_json() for name in _DRIFT_FIGURES}
        return figures | {"each": {k: _null_if_nan(v) for k, v in self.each.items()}}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Drift:
        each = {k: math.nan if v is None else float(v) for k, v in value["each"].items()}
        return Drift(each=each, **{name: Interval.from_json(value[name]) for name in _DRIFT_FIGURES})


_DRIFT_FIGURES = ("points", "likeness", "attributes", "prompt", "shift")


@dataclass(frozen=True)
class DriftInput:
    """Scores of the images between which drift is measured, in one order."""

    similarity: Floats
    """Mean cosine to the references [N]."""
    embeddings: Floats
    """[N, D]."""
    prompt: Floats
    """Prompt fidelity [N]."""
    attributes: Sequence[Attributes] = ()
    """Attributes of each image; empty if the scorer detects none."""


def drift(
    after: DriftInput,
    before: DriftInput,
    *,
    similarity_gap: float,
    embedding_distance: float,
    attributes: Attributes,
    requested: Sequence[Collection[str]] | None = None,
    prompt_scale: float = 1.0,
    seed: int = 0,
) -> Drift:
    """Measure prior drift (DreamBooth's PRES, and language drift) as differences between pairs of images.

    Args:
        after: the class images with the adapter.
        before: the base's images for the same prompts and seeds.
        similarity_gap: the references' similarity with each other less that of the base's images to them.
        embedding_distance: distance between the mean embedding of the base's images and that of the references.
        attributes: the subject's attributes.
        requested: the groups that each prompt asks for; showing them is no drift.
        prompt_scale: the range of prompt scores, by which they are divided (1 for a tagger).
        seed: seed of the bootstrap.
    """
    unknown = np.full(len(after.similarity), math.nan)
    to_subject = (after.similarity - before.similarity) / similarity_gap if similarity_gap >= MIN_GAP else unknown
    like = mean_interval(to_subject, seed=seed).scaled(100)
    each: dict[str, float] = {}
    increase = unknown
    if attributes and after.attributes and before.attributes:
        shares = [attribute_share(images.attributes, attributes, requested) for images in (after, before)]
        increase = shares[0] - shares[1]
        now, then = (attribute_frequencies(images.attributes, attributes) for images in (after, before))
        each = {g: 100 * (now[g] - then[g]) for g in attributes}
    leak = mean_interval(increase, seed=seed).scaled(100)
    prompt = paired_difference(before.prompt, after.prompt, seed=seed).scaled(100 / prompt_scale)
    shift = UNKNOWN
    if embedding_distance > 0:
        shift = mean_shift(after.embeddings - before.embeddings, seed=seed).scaled(100 / embedding_distance)
    return Drift(_worst(like, leak, prompt), like, leak, each, prompt, shift)


def mean_shift(differences: ArrayLike, *, seed: int = 0, draws: int = BOOTSTRAP_DRAWS) -> Interval:
    """Return the length of the mean of `differences` [N, D], less the length expected by chance.

    |mean d|² is too large by the variance of d over N; the mean of d_i · d_j over pairs i != j is unbiased (a
    U-statistic, Hoeffding 1948). Images that changed in unrelated directions give 0, in one direction they do not.
    """
    d = _rows(differences)
    n = len(d)
    if n < 2:
        return UNKNOWN
    products = d @ d.T
    np.fill_diagonal(products, 0.0)
    rows = np.random.default_rng(seed).integers(0, n, (draws, n))
    counts = np.stack([np.bincount(row, minlength=n) for row in rows]).astype(np.float64)
    counts = counts[(counts > 0).sum(axis=1) > 1]
    sums = np.einsum("bi,ij,bj->b", counts, products, counts, optimize=True)
    squares = sums / (n * n - np.square(counts).sum(axis=1))
    low, high = np.percentile(squares, (2.5, 97.5))
    middle = products.sum() / (n * (n - 1))
    value, least, most = (math.sqrt(max(0.0, float(v))) for v in (middle, low, high))
    return Interval(value, least, most, n)


def _worst(*parts: Interval) -> Interval:
    """Return the largest known part, significant ones first; negative values count as 0."""
    known = [p for p in parts if not math.isnan(p.value)]
    if not known:
        return UNKNOWN
    worst = max(known, key=lambda p: (p.low > 0, p.value))
    return Interval(max(0.0, worst.value), max(0.0, worst.low), max(0.0, worst.high), worst.n)


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
            "by_embedding": _null_if_nan(self.by_embedding),
            "by_pixels": _null_if_nan(self.by_pixels),
            "nearest": list(self.nearest),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> NearCopies:
        unknown = {k: math.nan if value[k] is None else float(value[k]) for k in ("by_embedding", "by_pixels")}
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
    far = 1.0 - g @ t.T
    near_e = far < _nearest_neighbor_threshold(1.0 - t @ t.T)
    p, q = _rows(small), _rows(training_small)
    near_p = _root_mean_square(p, q) < _nearest_neighbor_threshold(_root_mean_square(q, q))
    by_embedding, by_pixels, both = (near.any(axis=1) for near in (near_e, near_p, near_e & near_p))
    nearest = tuple(far.argmin(axis=1).tolist())
    return NearCopies(proportion(both), float(by_embedding.mean()), float(by_pixels.mean()), nearest)


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


def _root_mean_square(a: Floats, b: Floats) -> Floats:
    """Return the RMS distances [N, M] between rows, from |a - b|² = |a|² - 2ab + |b|²: no [N, M, P] array."""
    squares = np.square(a).sum(axis=1)[:, None] - 2 * a @ b.T + np.square(b).sum(axis=1)[None]
    distances: Floats = np.sqrt(np.maximum(squares, 0.0) / a.shape[1])
    return distances


def _rows(values: ArrayLike) -> Floats:
    rows = np.asarray(values, dtype=np.float64)
    return rows if rows.ndim == 2 else rows.reshape(len(rows), -1)


def _null_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
