"""Converting images of any bit depth to 8 bits: 16-bit, 32-bit, signed and float greys are scaled, not clipped."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from bakehouse.data import tiff

_GREYS = {"L;2": (3, 85), "L;4": (15, 17)}
"""Raw modes of PNGs with 2 and 4 bits: the largest value, and the factor by which Pillow multiplies."""


_COVERED = "covered by the first frame"


def correct_transparency(file: ImageFile.ImageFile) -> None:
    """Scale the transparent grey of an opened PNG as Pillow will scale its pixels; call it before they are loaded."""
    transparent = file.info.get("transparency")
    raw = next((tile.args for tile in file.tile if isinstance(tile.args, str)), "")
    if isinstance(transparent, int) and raw in _GREYS:
        largest, times = _GREYS[raw]
        file.info["transparency"] = (transparent & largest) * times


def record_first_frame_area(file: ImageFile.ImageFile) -> None:
    """Record which area of an opened GIF its first frame covers; the rest is transparent, but Pillow fills it."""
    extents = next((tile.extents for tile in file.tile), None)
    if extents is not None and extents != (0, 0, *file.size):
        file.info[_COVERED] = extents


def to_eight_bits(file: Image.Image) -> Image.Image:
    """Return a loaded image of any mode as L, LA, RGB, RGBA or CMYK.

    Raises:
        ValueError: a float image has no finite value.
    """
    if file.mode in ("I", "F") or file.mode.startswith("I;16"):
        return _grey(file)
    if file.mode == "L" and tiff.is_signed(file):
        return Image.fromarray(_scale_integers(np.asarray(file).view(np.int8), file))
    transparent = file.info.get("transparency")
    if isinstance(transparent, tuple) and max(transparent) > 255:
        # Pillow reads 16-bit colours as 8-bit but leaves the transparent colour at 16.
        file.info["transparency"] = tuple(int(v) >> 8 for v in transparent)
    if _half_covered(file):
        return _cleared(file.convert("RGBA"), file.info[_COVERED])
    if file.has_transparency_data:
        return file.convert("LA" if file.mode in ("LA", "La") else "RGBA")
    if file.mode in ("1", "L"):
        return file.convert("L")
    return file.copy() if file.mode == "CMYK" else file.convert("RGB")


def may_have_alpha(file: Image.Image) -> bool:
    """Whether an opened image can have transparent pixels, according to its header."""
    return file.has_transparency_data or _half_covered(file)


def has_alpha(file: Image.Image) -> bool:
    """Whether a loaded image has pixels that are not opaque."""
    if file.mode.startswith("I;16"):
        return isinstance(t := file.info.get("transparency"), int) and bool((np.asarray(file) == t).any())
    if not may_have_alpha(file):
        return False
    lowest = to_eight_bits(file).getchannel("A").getextrema()[0]
    return bool(lowest < 255)  # type: ignore[operator]


def _half_covered(file: Image.Image) -> bool:
    """Whether this is the first frame of a GIF and smaller than the image."""
    return _COVERED in file.info and file.tell() == 0


def _cleared(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """The image, transparent outside of a box: left, top, right, bottom in pixels."""
    canvas = Image.new("RGBA", image.size)
    canvas.paste(image.crop(box), box)
    return canvas


def _grey(file: Image.Image) -> Image.Image:
    """One channel of more than 8 bits as L, or as LA if one value is transparent."""
    values = np.asarray(file)
    if file.mode == "F":
        grey = _scale_floats(values)
        return Image.fromarray(255 - grey if tiff.white_is_zero(file) else grey)
    if file.mode == "I":
        return Image.fromarray(_scale_integers(values, file))
    image = Image.fromarray(_scale_sixteen(values, file))
    transparent = file.info.get("transparency")
    if isinstance(transparent, int):
        image.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return image


def _scale_sixteen(values: npt.NDArray[Any], file: Image.Image) -> npt.NDArray[np.uint8]:
    """uint16 [H, W] to uint8 by a table; white is 4095 in 12-bit TIFFs, and WhiteIsZero is inverted."""
    full = 4095 if tiff.bits_per_sample(file) == 12 else 65535
    table = np.minimum((np.arange(65536) * 255 + full // 2) // full, 255).astype(np.uint8)
    table = 255 - table if tiff.white_is_zero(file) else table
    return np.take(table, values)


def _scale_integers(values: npt.NDArray[Any], file: Image.Image) -> npt.NDArray[np.uint8]:
    """Integers [H, W] to uint8.

    With negative values, the least becomes black and the greatest white. Otherwise white is the largest value of the
    bit depth; for 32 bits, of the smallest of 8, 16 and 32 bits that holds all values, as some programs store them.
    """
    signed, depth = tiff.is_signed(file), tiff.bits_per_sample(file) or 16
    if depth == 32 and not signed:
        values = values.view(np.uint32)  # Pillow has no unsigned mode and wraps
    low, high = int(values.min()), int(values.max())
    if low < 0:
        return _stretch(values.astype(np.float64), low, high)
    full = 2 ** (depth - signed) - 1
    white = next(w for w in (255, 65535, full) if high <= w) if depth == 32 else full
    return _stretch(values.astype(np.float64), 0, white)


def _scale_floats(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """float32 [H, W] to uint8. White is 1 (up to 16 are clipped highlights), 255 or 65535; else the greatest value.

    Raises:
        ValueError: no value is finite.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise ValueError("a float image without a finite value")
    low, high = float(finite.min()), float(finite.max())
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    if low < 0:
        return _stretch(values, low, high)
    if high <= 16:
        return _stretch(values, 0, 1)
    return _stretch(values, 0, 255 if high <= 255 else 65535 if high <= 65535 else high)


def _stretch(values: npt.NDArray[Any], black: float, white: float) -> npt.NDArray[np.uint8]:
    unit = (values - black) / max(white - black, 1e-12)
    return (np.clip(unit, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
