"""Which of several copies stays, and the words for why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bakehouse.data.captions import split_tags
from bakehouse.data.header import jpeg_quality
from bakehouse.data.images import open_image, reading
from bakehouse.data.records import ImageRecord

Size = tuple[int, int]

LOSSLESS = 101
"""Above every JPEG."""
_SMALLER = 0.95
"""Of the sides: copies that are nearer in size are not one enlarged from the other."""
_LOST = 4
"""Levels of 255 by which one pixel in 200 may change when a picture is brought to such a size and back."""
_LOSSY = {"WEBP": 85, "AVIF": 85, "HEIF": 90}
"""These do not say their quality; what programs write unless told otherwise is worth about such a JPEG."""


@dataclass(frozen=True)
class Standing:
    """What a copy has to show. Copies that cannot be decoded whole are not among a dataset's images at all."""

    clean: bool
    """No text or watermark was found where another copy has none."""
    detail: int
    """Pixels; of a picture that was enlarged from a copy, as many as that has."""
    quality: int
    """Of a JPEG 1..100, from its quantization table; `LOSSLESS` for what loses nothing."""
    captioned: bool
    age: float
    """Seconds since the epoch at which the file was last written."""
    number: int
    """Its place in the dataset: the last resort."""

    @property
    def key(self) -> tuple[int, int, int, int, float, int]:
        """Sorts the best copy first."""
        return (-self.clean, -self.detail, -self.quality, -self.captioned, self.age, self.number)

    def over(self, other: Standing) -> str:
        """Why this one stays and the other goes."""
        if self.clean and not other.clean:
            return "has no text over it"
        if self.detail != other.detail:
            return f"has {self.detail / other.detail:.2g} times the detail"
        if self.quality != other.quality:
            return f"lost less when it was saved ({_quality(self.quality)} to {_quality(other.quality)})"
        if self.captioned and not other.captioned:
            return "has a caption"
        return "is older" if self.age < other.age else "comes first"


def standing(record: ImageRecord, number: int, sizes: Iterable[Size] = (), *, clean: bool = True) -> Standing:
    """Of an image that is the `number`-th of its dataset, among copies of these sizes."""
    return Standing(
        clean=clean,
        detail=_detail(record, sizes),
        quality=quality(record.path),
        captioned=richness(record) > (0, 0),
        age=record.path.stat().st_mtime,
        number=number,
    )


def _detail(record: ImageRecord, sizes: Iterable[Size]) -> int:
    smaller = [size for size in set(sizes) if size[0] < record.width and size[1] < record.height]
    return detail(open_image(record.path), smaller) if smaller else record.width * record.height


def detail(image: Image.Image, sizes: Iterable[Size]) -> int:
    """Pixels that a picture needs: those of the first of `sizes` from which it can be had again, else all it has."""
    grey = image.convert("L")
    pixels = np.asarray(grey, np.int16)
    for size in sorted(sizes, key=lambda size: size[0] * size[1]):
        if max(size[0] / grey.width, size[1] / grey.height) > _SMALLER:
            continue
        again = grey.resize(size, Image.Resampling.LANCZOS).resize(grey.size, Image.Resampling.BICUBIC)
        if np.percentile(np.abs(pixels - np.asarray(again)), 99.5) <= _LOST:
            return size[0] * size[1]
    return grey.width * grey.height


def quality(path: Path) -> int:
    """How little saving this file has lost: 1..100 as libjpeg counts, or `LOSSLESS`."""
    with reading(path) as file:
        if file.format == "WEBP" and _webp_is_lossless(path):
            return LOSSLESS
        return jpeg_quality(getattr(file, "quantization", None)) or _LOSSY.get(file.format or "", LOSSLESS)


def richness(record: ImageRecord) -> tuple[int, int]:
    """How much the captions of an image say: tags, then letters."""
    return sum(len(split_tags(line)) for line in record.captions), sum(map(len, record.captions))


def _webp_is_lossless(path: Path) -> bool:
    """Whether the first frame's chunk is of the lossless kind; it stands early in the file."""
    with path.open("rb") as f:
        start = f.read(4096)
    lossless, lossy = start.find(b"VP8L"), start.find(b"VP8 ")
    return lossless >= 0 and not 0 <= lossy < lossless


def _quality(value: int) -> str:
    return "lossless" if value == LOSSLESS else f"quality {value}"
