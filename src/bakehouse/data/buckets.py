"""Aspect-ratio buckets: the sizes to which images are resized and cropped, so that a batch has one size.

Sizes are (width, height) in pixels throughout.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from PIL import Image
from pydantic import Field, model_validator

from bakehouse.core.errors import UsageError
from bakehouse.core.message_text import counted, listed
from bakehouse.core.setting_needs import Needs, is_on, one_of
from bakehouse.core.settings import Spec

Size = tuple[int, int]

MANY_BUCKETS = 9
MUCH_ENLARGED = 1.5
MUCH_LOST = 0.20


_SIDES = (Needs(is_on("enabled")), Needs(one_of("rule", "log"), is_on("upscale")))
"""With kohya's rule an image that is not enlarged gets a bucket of its own size, whatever min and max are."""


class BucketSpec(Spec):
    """Buckets, and how an image's bucket is chosen."""

    resolution: int = Field(512, ge=16, le=4096)
    """Side of the square bucket in pixels; every bucket has at most its area."""
    enabled: bool = True
    """Use buckets; false: crop every image to a square."""
    min: Annotated[int | None, *_SIDES] = Field(None, ge=8, le=8192)
    """Shortest side of a bucket; default: half the resolution. Rounded up to a multiple of step (kohya: down)."""
    max: Annotated[int | None, *_SIDES] = Field(None, ge=8, le=8192)
    """Longest side of a bucket; default: twice the resolution. Rounded down to a multiple of step (kohya: up)."""
    step: int = Field(64, ge=8, le=512, multiple_of=8)
    """Sides are multiples of this. Latents need 8; SD 1.x and SDXL train best at 64."""
    rule: Annotated[Literal["log", "kohya"], Needs(is_on("enabled"))] = "log"
    """How a bucket is chosen: by the ratio of aspect ratios, which treats portrait as landscape, or as kohya does."""
    upscale: Annotated[bool, Needs(is_on("enabled"))] = True
    """Enlarge small images to the size of a bucket; false: a small image gets a bucket of its own size."""

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        if self.step > self.resolution:
            raise ValueError(f"step = {self.step} is larger than resolution = {self.resolution}")
        if self.enabled and not self.shortest <= self.resolution <= self.longest:
            raise ValueError(f"min {self.shortest} <= resolution {self.resolution} <= max {self.longest} does not hold")
        return self

    @property
    def shortest(self) -> int:
        """Shortest allowed side, a multiple of `step`, at least one: rounded up, by kohya's rule down."""
        steps = (self.min if self.min is not None else self.resolution // 2) / self.step
        return self.step * max(1, math.floor(steps) if self.rule == "kohya" else math.ceil(steps))

    @property
    def longest(self) -> int:
        """Longest allowed side, a multiple of `step`, at least one: rounded down, by kohya's rule up."""
        steps = (self.max if self.max is not None else self.resolution * 2) / self.step
        return self.step * max(1, math.ceil(steps) if self.rule == "kohya" else math.floor(steps))

    def buckets(self) -> list[Size]:
        """Return all buckets (with `upscale=False`, small images add their own)."""
        if not self.enabled:
            side = self.resolution // self.step * self.step
            return [(side, side)]
        return make_buckets(self.resolution, self.shortest, self.longest, self.step)


@dataclass(frozen=True, slots=True)
class Placement:
    """How an image is fitted into its bucket: resize to `resized`, then crop to `crop_box`."""

    bucket: Size
    resized: Size
    crop_box: tuple[int, int, int, int]
    """Left, top, right, bottom in pixels of the resized image; as large as the bucket."""
    scale: float
    """Resized pixels per original pixel; above 1 the image is enlarged."""
    lost_fraction: float
    """Share of the image's area outside the crop."""

    @staticmethod
    def of_crop(size: Size, bucket: Size, resized: Size, left: int, top: int) -> Placement:
        """Return the placement of an image of `size` that is resized, then cropped at `left`, `top` to the bucket."""
        return Placement(
            bucket=bucket,
            resized=resized,
            crop_box=(left, top, left + bucket[0], top + bucket[1]),
            scale=max(resized[0] / size[0], resized[1] / size[1]),
            lost_fraction=1 - (bucket[0] * bucket[1]) / (resized[0] * resized[1]),
        )


@dataclass(frozen=True)
class BucketRow:
    """One row of the table of buckets."""

    bucket: Size
    images: int
    """Number of images, counting repeats."""
    batches: int
    partial: int
    """Images in the last batch if it is not full, else 0."""
    largest_scale: float
    most_lost: float


# --- choosing ---------------------------------------------------------------------------------------------------------


def make_buckets(resolution: int | Size, min: int = 256, max: int = 1024, step: int = 64) -> list[Size]:  # noqa: A002
    """Return exactly kohya's buckets, sorted: the square, and for each width the largest height within the area."""
    width, height = (resolution, resolution) if isinstance(resolution, int) else resolution
    area = width * height
    side = int(math.sqrt(area) // step) * step
    sizes = {(side, side)}
    for w in range(min, max + 1, step):
        h = area // w // step * step
        h = h if h < max else max
        if h >= min:
            sizes |= {(w, h), (h, w)}
    return sorted(sizes)


def kohya_bucket(
    size: Size, buckets: Sequence[Size], *, no_upscale: bool = False, area: int | None = None, step: int = 64
) -> tuple[Size, Size]:
    """Return bucket and resized size as kohya chooses them.

    If kohya would divide by zero or give a side of 0 pixels (very small or very long images), that side is one step and
    the other as long as the area allows.

    Args:
        size: of the image.
        buckets: from `make_buckets`; not used with `no_upscale`.
        no_upscale: do not enlarge images.
        area: most pixels with `no_upscale`, the squared resolution; default: of the largest bucket.
        step: sides are multiples of it with `no_upscale`.
    """
    width, height = size
    ratio = width / height
    if no_upscale:
        return _kohya_unenlarged(size, area or max(w * h for w, h in buckets), step)
    bucket = size if size in buckets else min(buckets, key=lambda b: abs(b[0] / b[1] - ratio))
    scale = bucket[1] / height if ratio > bucket[0] / bucket[1] else bucket[0] / width
    return bucket, (int(width * scale + 0.5), int(height * scale + 0.5))


def _kohya_unenlarged(size: Size, area: int, step: int) -> tuple[Size, Size]:
    width, height = size
    ratio = width / height
    resized = size
    if width * height > area:
        side = math.sqrt(area * ratio)
        by_width = _floor_to(side, step)
        by_height = _floor_to(area / side, step)
        width_error = _ratio_error(by_width, _floor_to(by_width / ratio, step), ratio)
        height_error = _ratio_error(_floor_to(by_height * ratio, step), by_height, ratio)
        if width_error < height_error:
            resized = (by_width, int(by_width / ratio + 0.5))
        else:
            resized = (int(by_height * ratio + 0.5), by_height)
    bucket = (resized[0] // step * step, resized[1] // step * step)
    if 0 in bucket:
        most = area // step // step * step
        bucket = (max(step, min(bucket[0], most)), max(step, min(bucket[1], most)))
    return bucket, _cover(size, bucket) if resized[0] < bucket[0] or resized[1] < bucket[1] else resized


def _floor_to(value: float, step: int) -> int:
    rounded = int(value + 0.5)
    return rounded - rounded % step


def _ratio_error(width: int, height: int, ratio: float) -> float:
    return abs(width / height - ratio) if width and height else math.inf


def log_bucket(size: Size, buckets: Sequence[Size]) -> Size:
    """Return the bucket with the nearest aspect ratio on a logarithmic scale; a rotated image gets the rotated bucket.

    Ties: the squarer, then the larger.
    """

    def distance(bucket: Size) -> tuple[float, float, int]:
        # Differences of logarithms change sign exactly if width and height are swapped; quotients do not.
        shape = math.log(bucket[0]) - math.log(bucket[1])
        return (abs(shape - (math.log(size[0]) - math.log(size[1]))), abs(shape), -bucket[0] * bucket[1])

    return min(buckets, key=distance)


def assign(sizes: Sequence[Size], spec: BucketSpec) -> list[Placement]:
    """Return a placement for each image, in the same order.

    Raises:
        UsageError: a side has no pixels.
    """
    buckets = spec.buckets()
    return [_place(size, buckets, spec) for size in sizes]


def unchanged_placement(size: Size) -> Placement:
    """Return the placement of an image that already has the size of its bucket."""
    return Placement(bucket=size, resized=size, crop_box=(0, 0, *size), scale=1.0, lost_fraction=0.0)


def _place(size: Size, buckets: Sequence[Size], spec: BucketSpec) -> Placement:
    if min(size) < 1:
        raise UsageError(f"an image of {size[0]} x {size[1]} pixels fits into no bucket")
    if spec.enabled and spec.rule == "kohya":
        area = spec.resolution**2
        bucket, resized = kohya_bucket(size, buckets, no_upscale=not spec.upscale, area=area, step=spec.step)
    else:
        bucket = log_bucket(size, buckets)
        resized = _cover(size, bucket)
        if spec.enabled and not spec.upscale and (resized[0] > size[0] or resized[1] > size[1]):
            bucket = (_own_side(size[0], bucket[0], spec.step), _own_side(size[1], bucket[1], spec.step))
            resized = _cover(size, bucket) if size[0] < bucket[0] or size[1] < bucket[1] else size
    left, top = (resized[0] - bucket[0]) // 2, (resized[1] - bucket[1]) // 2
    return Placement.of_crop(size, bucket, resized, left, top)


def _own_side(side: int, most: int, step: int) -> int:
    """Return a side rounded down to a multiple of `step`, between `step` and `most` pixels."""
    return max(step, min(side, most) // step * step)


def _cover(size: Size, bucket: Size) -> Size:
    """The smallest size with the same aspect ratio that covers `bucket`."""
    if size[0] * bucket[1] > size[1] * bucket[0]:  # wider than the bucket
        return max(bucket[0], int(size[0] * bucket[1] / size[1] + 0.5)), bucket[1]
    return bucket[0], max(bucket[1], int(size[1] * bucket[0] / size[0] + 0.5))


# --- reports ----------------------------------------------------------------------------------------------------------


def bucket_table(
    placements: Sequence[Placement], batch: int, *, repeats: Sequence[int] | None = None
) -> list[BucketRow]:
    """Return a row for each bucket in use, from portrait to landscape; batches never mix buckets.

    Args:
        placements: from `assign`.
        batch: images per step.
        repeats: of each image, in the same order; default: 1.
    """
    counts: Counter[Size] = Counter()
    for placement, times in zip(placements, repeats or [1] * len(placements), strict=True):
        counts[placement.bucket] += times
    rows = []
    for bucket, images in counts.items():
        inside = [p for p in placements if p.bucket == bucket]
        largest, lost = max(p.scale for p in inside), max(p.lost_fraction for p in inside)
        rows.append(BucketRow(bucket, images, math.ceil(images / batch), images % batch, largest, lost))
    return sorted(rows, key=lambda row: (row.bucket[0] / row.bucket[1], row.bucket))


def bucket_warnings(
    placements: Sequence[Placement],
    batch: int,
    *,
    names: Sequence[str] | None = None,
    repeats: Sequence[int] | None = None,
) -> list[str]:
    """Return warnings about buckets that are hard to fill and images with a large crop loss; `names` are theirs."""
    rows = bucket_table(placements, batch, repeats=repeats)
    names = names or [f"image {i + 1}" for i in range(len(placements))]
    found = []
    if len(rows) > MANY_BUCKETS:
        found.append(
            f"{len(rows)} buckets (more than {MANY_BUCKETS} are hard to fill): crop images to fewer aspect ratios"
        )
    if small := [row for row in rows if row.images < batch]:
        shown = listed([f"{row.bucket[0]}x{row.bucket[1]} ({row.images})" for row in small], 5)
        found.append(f"{counted(len(small), 'bucket')} with fewer images than the batch of {batch}: {shown}")
    if enlarged := [f"{n} ({p.scale:.1f}x)" for n, p in zip(names, placements, strict=True) if p.scale > MUCH_ENLARGED]:
        found.append(
            f"{counted(len(enlarged), 'image')} enlarged more than {MUCH_ENLARGED}x: {listed(enlarged, 5)}; "
            "upscale first"
        )
    lossy = [(n, p) for n, p in zip(names, placements, strict=True) if p.lost_fraction > MUCH_LOST]
    if cut := [f"{n} ({p.lost_fraction:.0%})" for n, p in lossy]:
        losing = f"{counted(len(cut), 'image')} losing more than {MUCH_LOST:.0%} to the crop"
        found.append(f"{losing}: {listed(cut, 5)}; crop by hand")
    return found


# --- resizing ---------------------------------------------------------------------------------------------------------


def fit(image: Image.Image, placement: Placement) -> Image.Image:
    """Return an image resized and cropped to its bucket: area averaging to shrink, Lanczos to enlarge."""
    return _crop_and_resize(image, placement, Image.Resampling.LANCZOS)


def fit_mask(mask: Image.Image, placement: Placement) -> Image.Image:
    """Return a mask resized and cropped to its image's bucket, without overshoot; it may be smaller than the image."""
    return _crop_and_resize(mask, placement, Image.Resampling.BILINEAR)


def _crop_and_resize(image: Image.Image, placement: Placement, enlarge: Image.Resampling) -> Image.Image:
    if image.size == placement.resized:
        return image.crop(placement.crop_box)
    # Only the crop is resized: a whole panorama with the height of the bucket can have a gigapixel.
    x, y = image.width / placement.resized[0], image.height / placement.resized[1]
    left, top, right, bottom = placement.crop_box
    box = (left * x, top * y, min(right * x, image.width), min(bottom * y, image.height))
    # Pillow's BOX counts whole pixels, so below 3x it drops and doubles lines; HAMMING is two to six times nearer to
    # true area averaging there (measured against OpenCV's INTER_AREA) and has no negative lobes either.
    shrinking = x >= 1 and y >= 1
    return image.resize(placement.bucket, Image.Resampling.HAMMING if shrinking else enlarge, box=box)
