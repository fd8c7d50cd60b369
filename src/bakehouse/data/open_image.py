"""The one function that opens images, for every part of the program.

A file is known by its content, never by its name. What comes out is 8-bit sRGB, upright, with nothing left in `info`
that a later save could wrongly embed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, ImageFile, TiffImagePlugin, UnidentifiedImageError

from bakehouse.core.errors import BakehouseError
from bakehouse.data import tiff
from bakehouse.data.bit_depth import (
    correct_transparency,
    has_alpha,
    may_have_alpha,
    record_first_frame_area,
    to_eight_bits,
)

MAX_PIXELS = 250_000_000
"""Larger headers are refused before anything is decoded; the largest phone cameras make 200 megapixels."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "HEIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "QOI")
"""Pillow's decoders that are tried. Others are rarely photographs; some start programs (EPS), some have no magic."""

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("png", "apng", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "avif", "avifs", "heic", "heif", "hif"),
        *("tif", "tiff", "bmp", "dib", "ppm", "pgm", "pbm", "pnm", "jp2", "j2k", "qoi", "mpo"),
    )
)
"""Names that claim to be images; only used to decide what to report as unreadable."""

FOREIGN = {
    ".jxl": "JPEG XL cannot be read; save it as PNG",
    **dict.fromkeys(
        (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
        "it is a camera's raw file; develop it and save it as PNG",
    ),
}
"""Images that cannot be read, by extension. What opens in a raw file is a thumbnail, and nobody would notice."""

_PAGES = frozenset({"MPO", "TIFF", "HEIF"})
"""Several pictures in these are pages, previews or eyes, and no animation."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_NOT_AN_IMAGE = (
    (b"<!doctype html", "is a web page, not an image: the download got an error page"),
    (b"<html", "is a web page, not an image: the download got an error page"),
    (b"<svg", "is an SVG drawing, which has no pixels"),
    (b"<?xml", "is XML (perhaps an SVG drawing), not an image"),
    (b"version https://git-lfs", "is a Git LFS pointer; the image itself was not downloaded"),
    (b"%pdf", "is a PDF"),
    (b"pk\x03\x04", "is a zip archive"),
    (b"rar!", "is a RAR archive"),
    (b"8bps", "is a Photoshop file"),
    (b"\x1a\x45\xdf\xa3", "is a video"),
    (b"\xff\x0a", "is JPEG XL, which cannot be read; save it as PNG"),
    (b"\0\0\0\x0cjxl ", "is JPEG XL, which cannot be read; save it as PNG"),
    (b"{", "is JSON, not an image"),
)


class ImageError(BakehouseError):
    """An image that cannot be used. `reason` is the message without the file's name."""

    def __init__(self, path: Path | str, reason: str, *, hint: str = "") -> None:
        self.path = Path(path)
        self.reason = reason
        super().__init__(f"cannot use {path}: {reason}", hint=hint)


@dataclass(frozen=True)
class ImageInfo:
    """What a full look at a file tells."""

    width: int
    """Pixels, after EXIF rotation."""
    height: int
    format: str
    """Pillow's name of what the file really is."""
    has_alpha: bool
    """At least one pixel is not opaque."""
    frames: int
    """Of a moving picture; 1 for all else, pages of a TIFF included."""


def open_image(
    path: Path | str,
    *,
    mode: Literal["RGB", "RGBA"] = "RGB",
    background: tuple[int, int, int] = (255, 255, 255),
) -> Image.Image:
    """Opens any image as upright 8-bit sRGB; of an animation, the first frame.

    `mode="RGB"` lays transparent images on `background`; `mode="RGBA"` keeps alpha (255 where the file has none).

    Raises:
        ImageError: not there, empty, not an image, cut short, or more than `MAX_PIXELS`.
    """
    with opened(Path(path)) as file:
        image = upright_srgb(file)
    return image.convert("RGBA") if mode == "RGBA" else flattened(image, background)


def upright_srgb(file: ImageFile.ImageFile) -> Image.Image:
    """An opened file decoded as upright 8-bit sRGB, RGB or RGBA; call it inside `opened`."""
    upright = _UPRIGHT.get(orientation(file))
    file.load()
    image = _to_srgb(to_eight_bits(file), file.info.get("icc_profile"))
    if upright is not None:
        image = image.transpose(upright)
    image.info = {}
    return image


def flattened(image: Image.Image, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """RGB or RGBA as RGB, what is transparent laid on `background`."""
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image).convert("RGB")


def image_size(path: Path | str) -> tuple[int, int]:
    """Width and height in pixels after EXIF rotation, from the header alone.

    Raises:
        ImageError: not there, empty, not an image, or more than `MAX_PIXELS`.
    """
    with opened(Path(path)) as file:
        return _upright_size(file)


def probe(path: Path | str, *, whole: bool = True) -> ImageInfo:
    """Decodes the first frame to see that it is whole, and says what the file is.

    With `whole=False` only the header is read: a cut is not found, and a file that may have alpha is said to have it.

    Raises:
        ImageError: as `open_image`.
    """
    with opened(Path(path)) as file:
        (width, height), frames = _upright_size(file), frame_count(file)
        if not whole:
            return ImageInfo(width, height, file.format or "", may_have_alpha(file), frames)
        # A JPEG decoded at an eighth still reads every byte, so a cut is found, several times faster.
        file.draft("L", (width // 8, height // 8))
        file.load()
        if file.mode == "F":
            to_eight_bits(file)  # numbers that are all NaN or infinite have no brightness
        return ImageInfo(width, height, file.format or "", has_alpha(file), frames)


def frame_count(file: ImageFile.ImageFile) -> int:
    """Frames of an opened moving picture; 1 for all else."""
    return 1 if file.format in _PAGES else getattr(file, "n_frames", 1)


def sniff(path: Path) -> bool:
    """Whether the first bytes are those of an image in `FORMATS` (or of a video that calls itself one: never)."""
    try:
        with path.open("rb") as f:
            prefix = f.read(16)
    except OSError:
        return False
    if len(prefix) < 8:
        return False
    with pillow_settings():
        accepts = (Image.OPEN[name][1] for name in _decoders())
        return any(accept is not None and accept(prefix) is True for accept in accepts)


def to_pixels(image: Image.Image) -> npt.NDArray[np.float32]:
    """Pixels as the networks see them: float32 [3, H, W] in -1..1."""
    array = np.asarray(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.float32)
    return np.ascontiguousarray((array / 127.5 - 1.0).transpose(2, 0, 1))


_SWITCHES = (
    (Image, "MAX_IMAGE_PIXELS", MAX_PIXELS),
    (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
    (TiffImagePlugin, "READ_LIBTIFF", True),
)


class _PillowState(contextlib.AbstractContextManager[None]):
    """Pillow's process-wide switches as we need them.

    Our pixel limit, files that are cut short raise, warnings are ours to give, every TIFF goes through libtiff.

    Threads share the switches, so the first one in sets them and the last one out puts back what was there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._undo.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.|pillow_heif")
                for module, name, value in _SWITCHES:
                    self._undo.callback(setattr, module, name, getattr(module, name))
                    setattr(module, name, value)
            self._depth += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._undo.close()


_STATE = _PillowState()


def pillow_settings() -> contextlib.AbstractContextManager[None]:
    """The block in which Pillow obeys this module's rules; many threads may be inside at once."""
    return _STATE


_DAMAGE = (
    *(OSError, EOFError, SyntaxError, struct.error, zlib.error, RuntimeError),
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError),
)
"""What decoders raise on damaged files: each author thought of another one, and most trip over their own numbers."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """The opened, not yet decoded file; whatever goes wrong in the block is an `ImageError`.

    Raises:
        ImageError: as `open_image`.
    """
    with pillow_settings():
        try:
            with Image.open(path, formats=_decoders()) as file:
                _check_header(path, file.size)
                _mend(path, file)
                yield file
        except (ImageError, MemoryError):
            raise
        except FileNotFoundError as e:
            raise ImageError(path, "it does not exist") from e
        except IsADirectoryError as e:
            raise ImageError(path, "it is a folder") from e
        except PermissionError as e:
            raise ImageError(path, "no permission to read it", hint="change its permissions") from e
        except Image.DecompressionBombError as e:
            raise ImageError(path, f"its header claims more than {MAX_PIXELS // 10**6} megapixels") from e
        except UnidentifiedImageError as e:
            kind = _kind_of_tiff(path)
            hint = "save it as PNG with an image editor" if kind else "remove the file, or download it again"
            raise ImageError(path, kind or _what_it_is(path), hint=hint) from e
        except _DAMAGE as e:
            hint = "get the file again from where it came from, or remove it"
            raise ImageError(path, f"the file is damaged or cut short ({e})", hint=hint) from e


def _mend(path: Path, file: ImageFile.ImageFile) -> None:
    """Puts right, in an opened file, what its decoder is about to read wrongly."""
    if file.format == "TIFF":
        if reason := tiff.correct_or_reject(file):
            raise ImageError(path, reason, hint="save it as PNG with an image editor")
    elif file.format == "PNG":
        correct_transparency(file)
    elif file.format == "GIF":
        record_first_frame_area(file)


def _check_header(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(path, f"its header says {width} x {height} pixels", hint="remove the file")
    if width * height > MAX_PIXELS:
        mega = width * height / 1e6
        reason = f"{width:,} x {height:,} = {mega:,.0f} megapixels, and the limit is {MAX_PIXELS // 10**6}"
        raise ImageError(path, reason, hint="make it smaller or cut it with an image editor")


def _what_it_is(path: Path) -> str:
    """Why a file is no image, from its first bytes."""
    with path.open("rb") as f:
        prefix = f.read(512)
    if not prefix:
        return "it is empty (0 bytes)"
    start = prefix.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, answer in _NOT_AN_IMAGE:
        if start.startswith(magic):
            return f"it {answer}"
    if prefix[4:8] == b"ftyp":
        return "it is a video, not an image"
    if not prefix.strip(b"\0"):
        return "it holds only zeros: the download or copy was not finished"
    return "it is not an image that can be read (png, jpg, webp, gif, avif, heic, bmp, tiff)"


def _kind_of_tiff(path: Path) -> str:
    """Why a TIFF was not opened; empty for what is no TIFF."""
    with path.open("rb") as f:
        if f.read(4) not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return ""
    kind = tiff.describe(path)
    return f"it is a TIFF of a kind that cannot be read{f' ({kind})' if kind else ''}"


@functools.cache
def _decoders() -> tuple[str, ...]:
    """Those of `FORMATS` that this machine's Pillow was built with."""
    import pillow_heif  # imported here: it takes a tenth of a second that `--help` need not wait for

    pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


# --- rotation ---------------------------------------------------------------------------------------------------------


def _upright_size(file: ImageFile.ImageFile) -> tuple[int, int]:
    width, height = file.size
    return (height, width) if orientation(file) >= 5 else (width, height)


def orientation(file: ImageFile.ImageFile) -> int:
    """EXIF orientation 1..8 that is still to be applied, read without decoding."""
    if file.format == "TIFF":
        return 1  # Pillow turns TIFFs itself, already in the size it reports
    exif = Image.Exif()
    try:
        if file.format == "PNG":
            # Pillow's getexif() would decode a whole PNG in search of a block behind the pixels.
            if data := file.info.get("exif") or _late_png_exif(file):
                exif.load(data)
        else:
            exif = file.getexif()
        value = exif.get(ExifTags.Base.Orientation, 1)
    except _DAMAGE:  # broken EXIF is common and no reason to refuse a picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _late_png_exif(file: ImageFile.ImageFile) -> bytes | None:
    """The eXIf block of a PNG wherever it stands, found by walking the block headers."""
    if file.filename:
        with Path(os.fsdecode(file.filename)).open("rb") as stream:
            return _walk_png(stream)
    return None


def _walk_png(stream: io.BufferedReader) -> bytes | None:
    stream.seek(8)
    while len(header := stream.read(8)) == 8:
        length = int.from_bytes(header[:4], "big")
        if header[4:] == b"eXIf":
            return stream.read(length)
        stream.seek(length + 4, io.SEEK_CUR)
    return None


# --- colour -----------------------------------------------------------------------------------------------------------


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """L, LA, RGB, RGBA or CMYK to RGB, or RGBA where there is alpha; the profile is used where it fits the image."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image if alpha is None else image.convert("L" if image.mode == "LA" else "RGB")
    if transform := _transform(profile, colours.mode) if profile else None:
        if colours.mode != transform.input_mode:
            colours = colours.convert(transform.input_mode)
        colours = transform.apply(colours)
    else:
        colours = colours.convert("RGB")
    if alpha is not None:
        colours.putalpha(alpha)
    return colours


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way from `profile` to sRGB for an image of `mode`; None where it is sRGB, broken, or of other channels."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}.get(source.profile.xcolor_space.strip(), "")
        fits = space == mode or (space, mode) == ("RGB", "L")
        if not fits or "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.ImageCmsTransform(
            source, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")), space, "RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None
