"""Headers of image files: format, mode, colour profile, rotation, frames, metadata."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageCms, ImageFile

from bakehouse.data.open_image import frame_count, opened, orientation

GENERATORS = ("parameters", "prompt", "workflow", "sd-metadata", "invokeai_metadata", "dream", "generation_data")
"""Metadata keys under which image generators write their settings: A1111, ComfyUI, InvokeAI and others."""

_LUMINANCE_ROW = (16, 11, 10, 16, 24, 40, 51, 61)
"""The first row of the luminance table of the JPEG standard (ITU T.81, annex K), which libjpeg scales by quality."""


@dataclass(frozen=True)
class ImageHeader:
    """The header of an image file, read without decoding the pixels."""

    format: str
    """Pillow's name of the format."""
    mode: str
    """Pillow's mode of the stored pixels: `I;16` is 16-bit grey, `CMYK` four inks."""
    width: int
    """Pixels, after EXIF rotation."""
    height: int
    orientation: int
    """EXIF orientation, 1..8; 1 is upright."""
    profile: str
    """Description of the colour profile; empty without one, `unreadable` if it is damaged."""
    frames: int
    """Number of frames of an animation; 1 otherwise, also for a TIFF of several pages."""
    jpeg_quality: int | None
    """libjpeg's quality, 1..100, estimated from the quantization table; None if the file is not a JPEG."""
    gps: bool
    """Whether EXIF holds a position."""
    generator: str
    """The metadata key under which a generator wrote its settings; empty if there is none."""

    @property
    def deep(self) -> bool:
        """Whether it is grey with more than 8 bits, or float, which most trainers read as white or black."""
        return self.mode.startswith("I") or self.mode == "F"

    @property
    def srgb(self) -> bool:
        """Whether the colour profile is sRGB or missing."""
        return not self.profile or "srgb" in self.profile.lower()


def header_of_open_image(file: ImageFile.ImageFile) -> ImageHeader:
    """Return the header of an opened image; call it inside `open_image.opened`, before the pixels are loaded."""
    turn = orientation(file)
    width, height = file.size
    exif = _exif(file)
    return ImageHeader(
        format=file.format or "",
        mode=file.mode,
        width=height if turn >= 5 else width,
        height=width if turn >= 5 else height,
        orientation=turn,
        profile=_profile(file.info.get("icc_profile")),
        frames=frame_count(file),
        jpeg_quality=jpeg_quality(getattr(file, "quantization", None)),
        gps=ExifTags.IFD.GPSInfo in exif and bool(exif.get_ifd(ExifTags.IFD.GPSInfo)),
        generator=_generator(file, exif),
    )


def read_image_header(path: Path | str) -> ImageHeader:
    """Return the header of an image file.

    Raises:
        ImageError: as `open_image`, except for damaged pixels.
    """
    with opened(Path(path)) as file:
        return header_of_open_image(file)


def jpeg_quality(tables: dict[int, list[int]] | None) -> int | None:
    """Return the libjpeg quality whose luminance table has the first row that is nearest to this one's."""
    if not tables or 0 not in tables:
        return None
    row = tables[0][:8]

    def distance(quality: int) -> int:
        return sum(abs(a - b) for a, b in zip(row, _steps(quality), strict=True))

    return min(range(1, 101), key=distance)


def _steps(quality: int) -> list[int]:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [max(1, min(255, (step * scale + 50) // 100)) for step in _LUMINANCE_ROW]


def distinct_frames(path: Path | str, *, most: int = 200) -> tuple[int, int]:
    """Return how many frames differ visibly from the one before, and how many were compared: the first `most`.

    Two frames are the same if their 16 x 16 grey thumbnails differ by less than 2 of 255 on average.

    Raises:
        ImageError: as `open_image`.
    """
    with opened(Path(path)) as file:
        total = min(most, getattr(file, "n_frames", 1))
        distinct, before = 0, b""
        for i in range(total):
            file.seek(i)
            small = file.convert("RGBA").resize((16, 16), Image.Resampling.BOX).convert("L").tobytes()
            if not before or sum(abs(a - b) for a, b in zip(small, before, strict=True)) >= 2 * len(small):
                distinct, before = distinct + 1, small
        return distinct, total


def _exif(file: ImageFile.ImageFile) -> Image.Exif:
    exif = Image.Exif()
    try:
        if file.format == "PNG":  # Pillow would decode a whole PNG in search of a block behind the pixels
            exif.load(file.info.get("exif") or b"")
            return exif
        return file.getexif()
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, AttributeError):
        return exif  # damaged EXIF is common and no reason to refuse an image


def _profile(data: bytes | None) -> str:
    if not data:
        return ""
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data))).strip() or "unnamed"
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return "unreadable"


def _generator(file: ImageFile.ImageFile, exif: Image.Exif) -> str:
    keys = {str(key).lower() for key in file.info}
    if found := next((key for key in GENERATORS if key in keys), ""):
        return found
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"") if file.format != "PNG" else b""
    text = comment if isinstance(comment, bytes) else str(comment).encode()
    return "parameters" if b"Steps: " in text.replace(b"\0", b"") else ""
