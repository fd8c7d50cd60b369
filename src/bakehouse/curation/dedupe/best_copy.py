"""Rank the copies of an image, and explain why the best one is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bakehouse.curation.dedupe.palette_images import is_full
from bakehouse.data.captions import split_tags
from bakehouse.data.image_header import jpeg_quality
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import open_image, opened

LOSSLESS = 101
"""Quality of lossless files, above every JPEG."""
_ASSUMED_QUALITY = {"WEBP": 85, "AVIF": 85, "HEIF": 90}
"""JPEG quality assumed for formats whose files do not record it: that of common default settings."""
_PALETTE_QUALITY = 50
"""JPEG quality assumed for an image reduced to 256 colours, which has about that error, and banding."""


@dataclass(frozen=True)
class CopyQuality:
    """The properties by which copies of an image are ranked."""

    clean: bool
    """No text over the image where another copy has none."""
    transparent: bool
    """It has transparent pixels, which a flattened copy has lost."""
    pixels: int
    quality: int
    """JPEG quality 1..100 from the quantization table, or `LOSSLESS`."""
    captioned: bool
    age: float
    """Modification time in seconds since the epoch."""
    number: int
    """Position in the dataset, which breaks ties."""

    @property
    def key(self) -> tuple[int, int, int, int, int, float, int]:
        """Sort key; the best copy comes first."""
        return (-self.clean, -self.transparent, -self.pixels, -self.quality, -self.captioned, self.age, self.number)

    def advantage_over(self, other: CopyQuality) -> str:
        """Return why this copy is kept rather than the other."""
        if self.clean and not other.clean:
            return "has no text over it"
        if self.transparent and not other.transparent:
            return "has transparency"
        if self.pixels != other.pixels:
            return f"has {self.pixels / other.pixels:.2g} times the pixels"
        if self.quality != other.quality:
            return f"is compressed less ({_quality_text(self.quality)}, not {_quality_text(other.quality)})"
        if self.captioned and not other.captioned:
            return "has a caption"
        return "is older" if self.age < other.age else "comes first"


def rate_copy(record: ImageRecord, number: int, *, clean: bool = True) -> CopyQuality:
    """Return the ranking properties of the `number`-th image of a dataset."""
    return CopyQuality(
        clean=clean,
        transparent=_is_transparent(record),
        pixels=record.width * record.height,
        quality=file_quality(record.path),
        captioned=caption_richness(record) > (0, 0),
        age=record.path.stat().st_mtime,
        number=number,
    )


def file_quality(path: Path) -> int:
    """Return the compression quality of a file: 1..100 on libjpeg's scale, or `LOSSLESS`."""
    with opened(path) as file:
        if file.format == "WEBP" and _webp_is_lossless(path):
            return LOSSLESS
        known = jpeg_quality(getattr(file, "quantization", None)) or _ASSUMED_QUALITY.get(file.format or "")
    return known or (_PALETTE_QUALITY if is_full(path) else LOSSLESS)


def _is_transparent(record: ImageRecord) -> bool:
    """Return whether any pixel is not opaque; the record may only state that there is an alpha channel."""
    return record.has_alpha and open_image(record.path, mode="RGBA").getchannel("A").getextrema() != (255, 255)


def caption_richness(record: ImageRecord) -> tuple[int, int]:
    """Return the number of tags, then of characters, in an image's captions."""
    return sum(len(split_tags(line)) for line in record.captions), sum(map(len, record.captions))


def _webp_is_lossless(path: Path) -> bool:
    """Return whether the first image chunk is VP8L; it is near the start of the file."""
    with path.open("rb") as f:
        start = f.read(4096)
    lossless, lossy = start.find(b"VP8L"), start.find(b"VP8 ")
    return lossless >= 0 and not 0 <= lossy < lossless


def _quality_text(value: int) -> str:
    return "lossless" if value == LOSSLESS else f"quality {value}"
