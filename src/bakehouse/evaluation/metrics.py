"""How well a subject was learned and what it cost: pure functions on arrays, each figure with a 95 % interval.

Letters: g generated pictures, r references of the subject, b the untouched base's pictures of the same prompts and
seeds; embeddings are rows of unit length, so that a dot product is a cosine. A figure that cannot be known
(no reference, one picture) is NaN, never 0.

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
"""What is seen in a picture, or asked of it, by group: {"hair color": "pink"}."""

DRAWS = 2000
SMALL = 16
"""Side of the small pictures in which near copies are looked for, pixels."""
MIN_GAP = 0.02
"""Cosine: closer than this, base and references cannot be told apart by the embedding."""
DOMINANT = 0.8
"""Share of the training images in which a value must stand to be the subject's."""
VISIBLE = 0.6
"""Share of the subject's images in which the judge must see a named attribute, for it to count."""
RARER = 0.3
"""By so much rarer the base must show it for the class word alone."""


# --- figures with intervals -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A figure, its 95 % interval and the number of pictures (or prompts) it stands on."""

    value: float
    low: float
    high: float
    n: int

    @property
    def error(self) -> float:
        """The standard error that a normal interval of this width would have."""
        return (self.high - self.low) / (2 * 1.959964)

    def to_json(self) -> dict[str, float | int | None]:
        """JSON has no NaN: unknown figures are null."""
        return {k: _known(v) for k, v in (("value", self.value), ("low", self.low), ("high", self.high))} | {
            "n": self.n
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Interval:
        low, high, middle = (math.nan if value[k] is None else float(value[k]) for k in ("low", "high", "value"))
        return Interval(middle, low, high, int(value["n"]))

    def scaled(self, factor: float) -> Interval:
        """The same figure in another unit."""
        ends = sorted((self.low * factor, self.high * factor))
        return Interval(self.value * factor, ends[0], ends[1], self.n)


UNKNOWN = Interval(math.nan, math.nan, math.nan, 0)


def mean_interval(values: ArrayLike, *, seed: int = 0, draws: int = DRAWS) -> Interval:
    """The mean of `values` [N] (NaN left out) and its percentile bootstrap interval (Efron 1979).

    Pictures are drawn again with replacement `draws` times; the interval holds the middle 95 % of the means.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    x = x[~np.isnan(x)]
    if not len(x):
        return UNKNOWN
    rows = np.random.default_rng(seed).integers(0, len(x), (draws, len(x)))
    low, high = np.percentile(x[rows].mean(axis=1), (2.5, 97.5))
    return Interval(float(x.mean()), float(low), float(high), len(x))


def proportion(hits: ArrayLike) -> Interval:
    """The share of true values [N] and its Wilson score interval (Wilson 1927).

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n): unlike the bootstrap's, it stays honest at 0 and at 1.
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
    """Mean of after - before over pictures of the same prompt and seed; pairs, for both share what the seed drew."""
    a, b = np.asarray(after, dtype=np.float64), np.asarray(before, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"pairs are needed: {a.shape} values after, {b.shape} before")
    return mean_interval(a - b, seed=seed)


# --- subject ----------------------------------------------------------------------------------------------------------


def similarity(generated: ArrayLike, references: ArrayLike) -> Floats:
    """For each generated picture [N, D] its mean cosine to the references [M, D]; the mean of it is DINO or CLIP-I."""
    g, r = _rows(generated), _rows(references)
    if not len(r):
        return np.full(len(g), math.nan)
    mean: Floats = g @ r.mean(axis=0)
    return mean


def self_similarity(references: ArrayLike) -> float:
    """Mean cosine over all pairs of different references: what a perfect likeness would score ("real images")."""
    r = _rows(references)
    n = len(r)
    if n < 2:
        return math.nan
    total = float(np.square(r.sum(axis=0)).sum() - np.square(r).sum())
    return total / (n * (n - 1))


def likeness(similarities: ArrayLike, base: float, real: float) -> Floats:
    """(s - base) / (real - base), at most 1: 0 is what the base draws for the class, 1 is the subject's own images.

    A cosine alone says little: two strangers before one wall may score 0.6. `base` is the mean of the base's pictures,
    `real` that of the references among themselves. All NaN where the two are the same. What lies below the base stays
    negative, else the mean over pictures of an untouched base would be above 0.
    """
    s = np.asarray(similarities, dtype=np.float64)
    if not real - base >= MIN_GAP:
        return np.full(s.shape, math.nan)
    cut: Floats = np.clip((s - base) / (real - base), -1.0, 1.0)
    return cut


def frequencies(seen: Sequence[Attributes], attributes: Attributes) -> dict[str, float]:
    """For each attribute the share of pictures that show it."""
    return {g: float(np.mean([s.get(g) == v for s in seen])) if seen else math.nan for g, v in attributes.items()}


def dominant_attributes(seen: Sequence[Attributes], *, ignore: Collection[str] = ()) -> dict[str, str]:
    """The value that stands in at least `DOMINANT` of the images, for each group that has one."""
    found: dict[str, str] = {}
    for group in dict.fromkeys(g for s in seen for g in s):
        values = [s.get(group) for s in seen]
        best = max(set(values), key=lambda v: (values.count(v), str(v)))
        if best is not None and group not in ignore and values.count(best) >= DOMINANT * len(seen):
            found[group] = best
    return found


def subject_attributes(
    training: Sequence[Attributes], base: Sequence[Attributes], *, ignore: Collection[str] = ()
) -> dict[str, str]:
    """What makes the subject: values that dominate its images and that the base shows at least `RARER` less often."""
    own = dominant_attributes(training, ignore=ignore)
    here, there = frequencies(training, own), frequencies(base, own)
    return {g: v for g, v in own.items() if not base or there[g] <= here[g] - RARER}


def attribute_share(
    seen: Sequence[Attributes], attributes: Attributes, asked: Sequence[Collection[str]] | None = None
) -> Floats:
    """For each picture the share of `attributes` that it shows; groups that its prompt asks for are not counted."""
    shares = []
    for i, s in enumerate(seen):
        counted = [g for g in attributes if asked is None or g not in asked[i]]
        shares.append(np.mean([s.get(g) == attributes[g] for g in counted]) if counted else math.nan)
    return np.asarray(shares, dtype=np.float64)


def visible_attributes(training: Sequence[Attributes], named: Attributes) -> dict[str, str]:
    """Those of the named attributes that the judge sees in most of the subject's own images; it is blind to others."""
    return {g: v for g, v in named.items() if frequencies(training, {g: v})[g] >= VISIBLE}


def subject_scores(likenesses: ArrayLike, shares: ArrayLike) -> Floats:
    """Per picture the mean of likeness by embedding and by attributes, or whichever of the two is known."""
    both = np.stack([np.asarray(likenesses, dtype=np.float64), np.asarray(shares, dtype=np.float64)])
    known = ~np.isnan(both)
    total, count = np.where(known, both, 0).sum(axis=0), known.sum(axis=0)
    scores: Floats = np.where(count > 0, total / np.maximum(count, 1), math.nan)
    return scores


# --- prompt -----------------------------------------------------------------------------------------------------------


def kept(after: float, base: float, floor: float = 0.0) -> float:
    """(after - floor) / (base - floor): the share of the base's prompt fidelity that is left, 1 = all of it.

    `floor` is what pictures score for prompts that are not theirs: 0 for a tagger; CLIP gives any text some 0.15.
    """
    return (after - floor) / (base - floor) if base > floor else math.nan


# --- diversity --------------------------------------------------------------------------------------------------------


def diversity(embeddings: ArrayLike, groups: Sequence[object], *, seed: int = 0) -> Interval:
    """Mean of 1 - cosine over pairs of pictures [N, D] that share a group (a prompt); intervals over groups.

    DreamBooth's DIV takes LPIPS for the distance; the embedding serves every judge and sees pose and place as well.
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
    """What became of the class word without the trigger, against the base, same prompts and seeds; all in points."""

    points: Interval
    """The headline: the largest of likeness, attributes and prompt, not less than 0."""
    likeness: Interval
    """How far class pictures went towards the subject: 100 = all the way from the base to the subject."""
    attributes: Interval
    """Mean rise of how often class pictures show the subject's attributes."""
    each: Mapping[str, float]
    """The rise for each attribute."""
    prompt: Interval
    """Loss of prompt accuracy on class and other-class prompts."""
    shift: Interval
    """How far the class moved in whatever direction: 100 = as far as the subject is from the base."""

    def to_json(self) -> dict[str, Any]:
        figures = {name: getattr(self, name).to_json() for name in _DRIFT_FIGURES}
        return figures | {"each": {k: _known(v) for k, v in self.each.items()}}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Drift:
        each = {k: math.nan if v is None else float(v) for k, v in value["each"].items()}
        return Drift(each=each, **{name: Interval.from_json(value[name]) for name in _DRIFT_FIGURES})


_DRIFT_FIGURES = ("points", "likeness", "attributes", "prompt", "shift")


@dataclass(frozen=True)
class Seen:
    """What the judge saw in pictures of one series, in one order: [N] each."""

    similarity: Floats
    """Mean cosine to the references."""
    embeddings: Floats
    """[N, D]."""
    prompt: Floats
    """Prompt fidelity."""
    attributes: Sequence[Attributes] = ()
    """Empty where the judge names none."""


def drift(
    after: Seen,
    before: Seen,
    *,
    gap: float,
    way: float,
    own: Attributes,
    asked: Sequence[Collection[str]] | None = None,
    prompt_scale: float = 1.0,
    seed: int = 0,
) -> Drift:
    """Prior drift (DreamBooth's PRES, and language drift) as three differences on pairs of pictures.

    Args:
        after: the class pictures with the adapter.
        before: the base's, same prompts and seeds.
        gap: cosine from the base's pictures to the references' own similarity: the length of the way.
        way: distance from the mean of the base's embeddings to the mean of the references'.
        own: the subject's attributes.
        asked: groups that each prompt asks for; they are no leak.
        prompt_scale: what prompt fidelity is divided by to be of 0..1 (its range for CLIP).
        seed: of the bootstrap.
    """
    nothing = np.full(len(after.similarity), math.nan)
    to_subject = (after.similarity - before.similarity) / gap if gap >= MIN_GAP else nothing
    like = mean_interval(to_subject, seed=seed).scaled(100)
    each: dict[str, float] = {}
    rise = nothing
    if own and after.attributes and before.attributes:
        rise = attribute_share(after.attributes, own, asked) - attribute_share(before.attributes, own, asked)
        now, then = frequencies(after.attributes, own), frequencies(before.attributes, own)
        each = {g: 100 * (now[g] - then[g]) for g in own}
    attributes = mean_interval(rise, seed=seed).scaled(100)
    prompt = paired_difference(before.prompt, after.prompt, seed=seed).scaled(100 / prompt_scale)
    shift = mean_shift(after.embeddings - before.embeddings, seed=seed).scaled(100 / way) if way > 0 else UNKNOWN
    return Drift(_worst(like, attributes, prompt), like, attributes, each, prompt, shift)


def mean_shift(moved: ArrayLike, *, seed: int = 0, draws: int = DRAWS) -> Interval:
    """Length of the mean of `moved` [N, D], without the length that chance alone would give it.

    |mean d|² is too large by the spread of d over N; the mean of d_i · d_j over pairs i != j (a U-statistic, Hoeffding
    1948) is not. So pictures that changed each in its own way come to 0, and those that all changed one way do not.
    """
    d = _rows(moved)
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
    """The largest known part, those first that chance does not explain; cut at 0, for a gain is no harm."""
    known = [p for p in parts if not math.isnan(p.value)]
    if not known:
        return UNKNOWN
    worst = max(known, key=lambda p: (p.low > 0, p.value))
    return Interval(max(0.0, worst.value), max(0.0, worst.low), max(0.0, worst.high), worst.n)


# --- memorisation -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memorised:
    """How often a picture is a near copy of a training image; shares of the pictures."""

    share: Interval
    """Near by embedding and by pixels at once."""
    by_embedding: float
    by_pixels: float
    nearest: tuple[int, ...]
    """For each picture the training image it is nearest to, by embedding."""

    def to_json(self) -> dict[str, Any]:
        return {
            "share": self.share.to_json(),
            "by_embedding": _known(self.by_embedding),
            "by_pixels": _known(self.by_pixels),
            "nearest": list(self.nearest),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Memorised:
        unknown = {k: math.nan if value[k] is None else float(value[k]) for k in ("by_embedding", "by_pixels")}
        nearest = tuple(int(i) for i in value["nearest"])
        return Memorised(Interval.from_json(value["share"]), unknown["by_embedding"], unknown["by_pixels"], nearest)


def memorised(generated: ArrayLike, training: ArrayLike, small: ArrayLike, training_small: ArrayLike) -> Memorised:
    """Pictures that lie closer to one training image than training images lie to each other.

    A picture is near a training image when their distance is below the 5th percentile of the training images' own
    distances to their nearest neighbours, and it counts when it is near one by embedding (what is shown) and by pixels
    (how): in a narrow world another picture of the same scene has the same embedding and is no copy.

    Args:
        generated: embeddings [N, D].
        training: embeddings [M, D]; less than 3 give no measure of their own distances.
        small: pixels [N, P] of small pictures, see `small_pixels`.
        training_small: pixels [M, P].
    """
    g, t = _rows(generated), _rows(training)
    if not len(g) or len(t) < 3:
        return Memorised(UNKNOWN, math.nan, math.nan, tuple(np.argmax(g @ t.T, axis=1).tolist()) if len(t) else ())
    far = 1.0 - g @ t.T
    near_e = far < _usual_nearest(1.0 - t @ t.T)
    p, q = _rows(small), _rows(training_small)
    near_p = _root_mean_square(p, q) < _usual_nearest(_root_mean_square(q, q))
    by_embedding, by_pixels, both = (near.any(axis=1) for near in (near_e, near_p, near_e & near_p))
    nearest = tuple(far.argmin(axis=1).tolist())
    return Memorised(proportion(both), float(by_embedding.mean()), float(by_pixels.mean()), nearest)


def small_pixels(images: Sequence[Any]) -> Floats:
    """PIL images as rows [N, SMALL x SMALL x 3] in 0..1."""
    from PIL import Image

    size = (SMALL, SMALL)
    rows = [
        np.asarray(i.convert("RGB").resize(size, Image.Resampling.BOX), dtype=np.float64).ravel() / 255 for i in images
    ]
    return np.stack(rows) if rows else np.zeros((0, SMALL * SMALL * 3))


def _usual_nearest(distances: Floats) -> float:
    """The 5th percentile of the distances [M, M] to the nearest other."""
    others = distances + np.where(np.eye(len(distances), dtype=bool), math.inf, 0.0)
    return float(np.percentile(others.min(axis=1), 5))


def _root_mean_square(a: Floats, b: Floats) -> Floats:
    """[N, M] distances between rows, by |a - b|² = |a|² - 2ab + |b|²: no [N, M, P] array."""
    squares = np.square(a).sum(axis=1)[:, None] - 2 * a @ b.T + np.square(b).sum(axis=1)[None]
    distances: Floats = np.sqrt(np.maximum(squares, 0.0) / a.shape[1])
    return distances


def _rows(values: ArrayLike) -> Floats:
    rows = np.asarray(values, dtype=np.float64)
    return rows if rows.ndim == 2 else rows.reshape(len(rows), -1)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
