"""Opening images: any format, recognised by content, becomes upright 8-bit sRGB.

Every image of the program is opened here. `info` is empty, so that saving the image embeds nothing.
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
"""Larger images are refused before they are decoded; the largest phone cameras have 200 megapixels."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "HEIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "QOI")
"""Pillow's decoders that are used. Others are rarely photographs; some start programs (EPS), some have no signature."""

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("png", "apng", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "avif", "avifs", "heic", "heif", "hif"),
        *("tif", "tiff", "bmp", "dib", "ppm", "pgm", "pbm", "pnm", "jp2", "j2k", "qoi", "mpo"),
    )
)
"""Extensions of images; used only to decide which files are reported as unreadable."""

FOREIGN = {
    ".jxl": "JPEG XL cannot be read; save it as PNG",
    **dict.fromkeys(
        (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
        "it is a camera's raw file; develop it and save it as PNG",
    ),
}
"""Extensions of images that cannot be read. Of a raw file, Pillow would open the thumbnail."""

_PAGES = frozenset({"MPO", "TIFF", "HEIF"})
"""Formats in which several images are pages, previews or stereo pairs, not frames."""

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
    """Properties of an image file."""

    width: int
    """Pixels, after EXIF rotation."""
    height: int
    format: str
    """Pillow's name of the format, by content."""
    has_alpha: bool
    """At least one pixel is not opaque."""
    frames: int
    """Number of frames of an animation; 1 otherwise, also for a TIFF of several pages."""


def open_image(
    path: Path | str,
    *,
    mode: Literal["RGB", "RGBA"] = "RGB",
    background: tuple[int, int, int] = (255, 255, 255),
) -> Image.Image:
    """Open any image as upright 8-bit sRGB; of an animation, the first frame.

    Args:
        path: the file.
        mode: `RGB` composites transparent images onto `background`; `RGBA` keeps alpha (255 if there is none).
        background: RGB, 0..255.

    Raises:
        ImageError: it is missing, empty, not an image, cut short, or has more than `MAX_PIXELS`.
    """
    with opened(Path(path)) as file:
        image = upright_srgb(file)
    return image.convert("RGBA") if mode == "RGBA" else flattened(image, background)


def upright_srgb(file: ImageFile.ImageFile) -> Image.Image:
    """Decode an opened file as upright 8-bit sRGB, RGB or RGBA; call it inside `opened`."""
    upright = _UPRIGHT.get(orientation(file))
    file.load()
    image = _to_srgb(to_eight_bits(file), file.info.get("icc_profile"))
    if upright is not None:
        image = image.transpose(upright)
    image.info = {}
    return image


def flattened(image: Image.Image, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """Return an RGB or RGBA image as RGB, composited onto `background`."""
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image).convert("RGB")


def image_size(path: Path | str) -> tuple[int, int]:
    """Return width and height in pixels after EXIF rotation, from the header.

    Raises:
        ImageError: it is missing, empty, not an image, or has more than `MAX_PIXELS`.
    """
    with opened(Path(path)) as file:
        return _upright_size(file)


def probe(path: Path | str, *, whole: bool = True) -> ImageInfo:
    """Return the properties of an image; the first frame is decoded to check that it is complete.

    With `whole=False` only the header is read: files that are cut short pass, and `has_alpha` means that it may have.

    Raises:
        ImageError: as `open_image`.
    """
    with opened(Path(path)) as file:
        (width, height), frames = _upright_size(file), frame_count(file)
        if not whole:
            return ImageInfo(width, height, file.format or "", may_have_alpha(file), frames)
        # A JPEG decoded at 1/8 of its size still reads every byte: files cut short are found several times faster.
        file.draft("L", (width // 8, height // 8))
        file.load()
        if file.mode == "F":
            to_eight_bits(file)  # numbers that are all NaN or infinite have no brightness
        return ImageInfo(width, height, file.format or "", has_alpha(file), frames)


def frame_count(file: ImageFile.ImageFile) -> int:
    """Return the number of frames of an opened animation; 1 otherwise."""
    return 1 if file.format in _PAGES else getattr(file, "n_frames", 1)


def sniff(path: Path) -> bool:
    """Whether the first bytes are those of an image in `FORMATS`."""
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
    """Return the pixels as float32 [3, height, width] in -1..1."""
    array = np.asarray(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.float32)
    return np.ascontiguousarray((array / 127.5 - 1.0).transpose(2, 0, 1))


_GLOBALS = (
    (Image, "MAX_IMAGE_PIXELS", MAX_PIXELS),
    (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
    (TiffImagePlugin, "READ_LIBTIFF", True),
)


class _PillowState(contextlib.AbstractContextManager[None]):
    """Pillow's global settings in this module: pixel limit, truncated files raise, no warnings, libtiff for all TIFFs.

    Threads share them, so the first thread to enter sets them and the last one to leave restores them.
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
                for module, name, value in _GLOBALS:
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
    """Return a context with this module's settings of Pillow; many threads may be inside at once."""
    return _STATE


_DAMAGE = (
    *(OSError, EOFError, SyntaxError, struct.error, zlib.error, RuntimeError),
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError),
)
"""What Pillow's decoders raise on damaged files."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open an image file without decoding it; errors of Pillow inside the block become ImageError.

    Raises:
        ImageError: as `open_image`.
    """
    with pillow_settings():
        try:
            with Image.open(path, formats=_decoders()) as file:
                _check_header(path, file.size)
                _correct_decoder(path, file)
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
            raise ImageError(path, f"its header gives more than {MAX_PIXELS // 10**6} megapixels") from e
        except UnidentifiedImageError as e:
            kind = _kind_of_tiff(path)
            hint = "save it as PNG with an image editor" if kind else "remove the file, or download it again"
            raise ImageError(path, kind or _describe_content(path), hint=hint) from e
        except _DAMAGE as e:
            hint = "get the file again from its source, or remove it"
            raise ImageError(path, f"the file is damaged or cut short ({e})", hint=hint) from e


def _correct_decoder(path: Path, file: ImageFile.ImageFile) -> None:
    """Correct what Pillow's decoder would read wrongly."""
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
        raise ImageError(path, f"its header gives {width} x {height} pixels", hint="remove the file")
    if width * height > MAX_PIXELS:
        mega = width * height / 1e6
        reason = f"{width:,} x {height:,} = {mega:,.0f} megapixels; the limit is {MAX_PIXELS // 10**6}"
        raise ImageError(path, reason, hint="resize or crop it with an image editor")


def _describe_content(path: Path) -> str:
    """Why a file is not an image, from its first bytes."""
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
        return "it holds only zeros: a download or copy was not finished"
    return "it is not an image in a known format (png, jpg, webp, gif, avif, heic, bmp, tiff)"


def _kind_of_tiff(path: Path) -> str:
    """Why a TIFF was not opened; empty if it is not a TIFF."""
    with path.open("rb") as f:
        if f.read(4) not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return ""
    kind = tiff.describe(path)
    return f"it is a TIFF of a kind that cannot be read{f' ({kind})' if kind else ''}"


@functools.cache
def _decoders() -> tuple[str, ...]:
    """The decoders of `FORMATS` that Pillow was built with on this machine."""
    import pillow_heif  # imported late: it takes 0.1 s

    pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


# --- rotation ---------------------------------------------------------------------------------------------------------


def _upright_size(file: ImageFile.ImageFile) -> tuple[int, int]:
    width, height = file.size
    return (height, width) if orientation(file) >= 5 else (width, height)


def orientation(file: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation, 1..8, that is still to be applied, without decoding."""
    if file.format == "TIFF":
        return 1  # Pillow rotates TIFFs itself, and reports the rotated size
    exif = Image.Exif()
    try:
        if file.format == "PNG":
            # Pillow's getexif() would decode the whole PNG to find a chunk behind the pixels.
            if data := file.info.get("exif") or _late_png_exif(file):
                exif.load(data)
        else:
            exif = file.getexif()
        value = exif.get(ExifTags.Base.Orientation, 1)
    except _DAMAGE:  # damaged EXIF is common and no reason to refuse an image
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _late_png_exif(file: ImageFile.ImageFile) -> bytes | None:
    """The eXIf chunk of a PNG, wherever it is, found by the chunk headers."""
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
    """L, LA, RGB, RGBA or CMYK to RGB, or RGBA if there is alpha; the profile is used if it fits the mode."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colors = image if alpha is None else image.convert("L" if image.mode == "LA" else "RGB")
    if transform := _transform(profile, colors.mode) if profile else None:
        if colors.mode != transform.input_mode:
            colors = colors.convert(transform.input_mode)
        colors = transform.apply(colors)
    else:
        colors = colors.convert("RGB")
    if alpha is not None:
        colors.putalpha(alpha)
    return colors


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from `profile` to sRGB for images of `mode`; None if it is sRGB, damaged, or for another mode."""
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
