"""Corrects how Pillow reads unusual TIFF files, and refuses those that it cannot read right.

Pillow has two TIFF readers. Its own one ignores the rotation of uncompressed files and guesses how planar channels are
stored; libtiff, which it uses for compressed files, does both right. `bakehouse.data.open_image` turns libtiff on for
every TIFF; this module does the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import ExifTags, ImageFile, ImagePalette, TiffImagePlugin

_BITS, _PHOTOMETRIC, _PLANES, _COLOURS, _EXTRA, _FORMAT = 258, 262, 284, 320, 338, 339
_SIGNED, _FLOAT = 2, 3

_NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
"""Raw modes of big-endian files, and the modes after libtiff, which has already swapped the bytes."""

_MISREAD_PLANES = frozenset({"LA", "PA", "LAB"})
"""Modes of which Pillow reads the planes after the first from the wrong offset."""

_PHOTOMETRICS = {
    0: "grey (white is zero)",
    1: "grey",
    2: "RGB",
    3: "palette",
    4: "transparency mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIE Lab",
    9: "ICC Lab",
    10: "ITU Lab",
    32803: "camera sensor",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
_FORMATS = {1: "unsigned", _SIGNED: "signed", _FLOAT: "float"}


def correct_or_reject(file: ImageFile.ImageFile) -> str:
    """Correct how Pillow will read an opened TIFF; return why it cannot be read right, or an empty string."""
    tags = _tags(file)
    # Without the tag, Pillow takes the rotation from XMP, which the size in the header does not include.
    file.getexif()[ExifTags.Base.Orientation] = tags.get(ExifTags.Base.Orientation, 1)
    colours = tags.get(_COLOURS)
    if colours and file.palette is not None and max(colours) < 256:
        # Old programs wrote 8-bit palettes; libtiff too reads them so if no value needs more.
        file.palette = ImagePalette.raw("RGB;L", bytes(colours))
    for index, tile in enumerate(file.tile):
        if isinstance(tile.args, tuple) and tile.args and tile.args[0] in _NATIVE:
            file.tile[index] = tile._replace(args=(_NATIVE[tile.args[0]], *tile.args[1:]))
    misread = file.mode in _MISREAD_PLANES or (file.mode == "RGBA" and _EXTRA not in tags)
    if misread and tags.get(_PLANES, 1) == 2:
        return f"its {file.mode} channels are stored in separate planes, which cannot be read"
    return ""


def bits_per_sample(file: Any) -> int:
    """Return the bits of one sample; 0 if the file is not a TIFF."""
    return int(_tags(file).get(_BITS, (0,))[0])


def is_signed(file: Any) -> bool:
    """Whether samples are signed integers."""
    return tuple(_tags(file).get(_FORMAT, (1,))[:1]) == (_SIGNED,)


def white_is_zero(file: Any) -> bool:
    """Whether the lowest value is white."""
    return bool(_tags(file).get(_PHOTOMETRIC) == 0)


def describe(path: Path) -> str:
    """Return the pixel type of a TIFF that Pillow cannot open: `RGB, 3 x 32-bit float samples`; empty if unknown."""
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
            if start[2:4] in (b"\0+", b"+\0"):
                return "a BigTIFF" if start[:2] == b"II" else "a big-endian BigTIFF"
            tags: Any = TiffImagePlugin.ImageFileDirectory_v2(start)
            stream.seek(tags.next)
            tags.load(stream)
            photometric, depth = tags.get(_PHOTOMETRIC, -1), tags.get(_BITS, (1,))
            kind = _PHOTOMETRICS.get(photometric, f"photometric {photometric}")
            sample = _FORMATS.get(tags.get(_FORMAT, (1,))[0], "undefined")
            return f"{kind}, {len(depth)} x {max(depth)}-bit {sample} samples"
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError):
        return ""


def _tags(file: Any) -> Any:
    return getattr(file, "tag_v2", {})
