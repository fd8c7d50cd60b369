"""Which of several copies stays, and the words for why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bakehouse.curation.dedupe.palette import is_full
from bakehouse.data.captions import split_tags
from bakehouse.data.image_header import jpeg_quality
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import open_image, opened

LOSSLESS = 101
"""Above every JPEG."""
_LOSSY = {"WEBP": 85, "AVIF": 85, "HEIF": 90}
"""These do not say their quality; what programs write unless told otherwise is worth about such a JPEG."""
_PALETTE = 50
"""A picture pressed into 256 colours is as far from the original as such a JPEG, and has bands."""


@dataclass(frozen=True)
class Standing:
    """What a copy has to show. Copies that cannot be decoded whole are not among a dataset's images at all."""

    clean: bool
    """No text or watermark was found where another copy has none."""
    transparent: bool
    """It has an alpha channel, which a copy laid on white has lost."""
    pixels: int
    quality: int
    """Of a JPEG 1..100, from its quantization table; `LOSSLESS` for what loses nothing."""
    captioned: bool
    age: float
    """Seconds since the epoch at which the file was last written."""
    number: int
    """Its place in the dataset: the last resort."""

    @property
    def key(self) -> tuple[int, int, int, int, int, float, int]:
        """Sorts the best copy first."""
        return (-self.clean, -self.transparent, -self.pixels, -self.quality, -self.captioned, self.age, self.number)

    def over(self, other: Standing) -> str:
        """Why this one stays and the other goes."""
        if self.clean and not other.clean:
            return "has no text over it"
        if self.transparent and not other.transparent:
            return "has its transparency"
        if self.pixels != other.pixels:
            return f"has {self.pixels / other.pixels:.2g} times the pixels"
        if self.quality != other.quality:
            return f"lost less when it was saved ({_quality(self.quality)} to {_quality(other.quality)})"
        if self.captioned and not other.captioned:
            return "has a caption"
        return "is older" if self.age < other.age else "comes first"


def standing(record: ImageRecord, number: int, *, clean: bool = True) -> Standing:
    """Of an image that is the `number`-th of its dataset."""
    return Standing(
        clean=clean,
        transparent=_is_transparent(record),
        pixels=record.width * record.height,
        quality=quality(record.path),
        captioned=richness(record) > (0, 0),
        age=record.path.stat().st_mtime,
        number=number,
    )


def quality(path: Path) -> int:
    """How little saving this file has lost: 1..100 as libjpeg counts, or `LOSSLESS`."""
    with opened(path) as file:
        if file.format == "WEBP" and _webp_is_lossless(path):
            return LOSSLESS
        known = jpeg_quality(getattr(file, "quantization", None)) or _LOSSY.get(file.format or "")
    return known or (_PALETTE if is_full(path) else LOSSLESS)


def _is_transparent(record: ImageRecord) -> bool:
    """Whether a pixel is not opaque; the record may only say that the file has room for it."""
    return record.has_alpha and open_image(record.path, mode="RGBA").getchannel("A").getextrema() != (255, 255)


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
