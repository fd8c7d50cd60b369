"""What a file says of itself and `open_image` leaves behind: format, depth, profile, rotation, frames, metadata."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageCms, ImageFile

from bakehouse.data.open_image import frame_count, opened, orientation

GENERATORS = ("parameters", "prompt", "workflow", "sd-metadata", "invokeai_metadata", "dream", "generation_data")
"""Keys under which programs that draw pictures write how: A1111, ComfyUI, InvokeAI and others."""

_LUMINANCE_ROW = (16, 11, 10, 16, 24, 40, 51, 61)
"""The first row of the luminance table of the JPEG standard (ITU T.81, annex K), which libjpeg scales by quality."""


@dataclass(frozen=True)
class ImageHeader:
    """Of one file, read without decoding its pixels."""

    format: str
    """Pillow's name."""
    mode: str
    """Pillow's, as stored: `I;16` is 16-bit grey, `CMYK` four inks."""
    width: int
    """Pixels, after EXIF rotation."""
    height: int
    orientation: int
    """EXIF, 1..8; 1 is upright."""
    profile: str
    """Description of the colour profile; empty without one, `unreadable` where it is broken."""
    frames: int
    """Of an animation; 1 for all else, pages of a TIFF included."""
    jpeg_quality: int | None
    """1..100 as libjpeg counts it, from the quantization table; None where the file is no JPEG."""
    gps: bool
    """EXIF says where it was taken."""
    generator: str
    """The key under which a program wrote how it drew this; empty where none did."""

    @property
    def deep(self) -> bool:
        """Grey of more than 8 bits or of floats, which most trainers read as white or black."""
        return self.mode.startswith("I") or self.mode == "F"

    @property
    def srgb(self) -> bool:
        """No profile, or one that is sRGB."""
        return not self.profile or "srgb" in self.profile.lower()


def header_of_open_image(file: ImageFile.ImageFile) -> ImageHeader:
    """Of an opened file; call it inside `bakehouse.data.open_image.reading`, before the pixels are loaded."""
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
    """Of a file.

    Raises:
        ImageError: as `bakehouse.data.open_image`, but pixels are not looked at.
    """
    with opened(Path(path)) as file:
        return header_of_open_image(file)


def jpeg_quality(tables: dict[int, list[int]] | None) -> int | None:
    """The quality of libjpeg whose luminance steps are nearest to these tables' first row."""
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
    """Frames that differ to the eye from the one before them, and how many were looked at.

    Two frames are alike where their 16 x 16 greys differ by less than 2 of 255 on average.

    Raises:
        ImageError: as `bakehouse.data.open_image`.
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
        return exif  # broken EXIF is common and no reason to refuse a picture


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
