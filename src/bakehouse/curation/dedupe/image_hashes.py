"""Perceptual hashes of an image: pHash, dHash, and dHashes of many windows to find crops.

All come from one thumbnail: the pHash (the signs of an 8 x 8 DCT), the dHash (whether each of 8 x 8 cells is brighter
than the one to its left), and the dHashes of windows of the image. A crop has the dHash of the window it was cut from,
whatever its shape, because all are squashed to a square.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bakehouse.data.open_image import flattened, opened, upright_srgb

Hashes = NDArray[np.uint64]
Floats = NDArray[np.float32]

SIDE = 96
"""Side in pixels of the image that is hashed; a JPEG is decoded at twice that."""
THUMBNAIL_SIDE = 32
"""Side in pixels of the thumbnail that is kept (3 kB)."""
MIN_STEP = 0.5
"""Cells that differ by less (of 255) count as equal: flat areas must not contribute the bits of their noise."""
MIN_INFORMATIVE_CELLS = 16
"""A dHash with fewer cells than this that differ from their neighbours is uninformative."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class ImageHashes:
    """The 64-bit hashes, mean colours and thumbnail of one image."""

    phash: np.uint64
    dhash: np.uint64
    windows: Hashes
    """[W]: dHash of each of `WINDOWS`."""
    uninformative: NDArray[np.bool_]
    """[1 + W]: whether the dHash of the whole image, then of each window, is uninformative."""
    colors: NDArray[np.uint8]
    """[1 + W, 48]: mean colours of 4 x 4 cells of the whole image, then of each window."""
    thumbnail: NDArray[np.uint8]
    """[`THUMBNAIL_SIDE`, `THUMBNAIL_SIDE`, 3]: the whole image, squashed to a square."""


# --- windows ----------------------------------------------------------------------------------------------------------


def _window_spans() -> list[tuple[float, float]]:
    """Return the window spans along one side: the whole, and 90, 75 and 60 %; smaller crops are other images."""
    found = [(0.0, 1.0)]
    for share, places in ((0.9, 3), (0.75, 4), (0.6, 5)):
        found += [(float(start), float(start) + share) for start in np.linspace(0, 1 - share, places)]
    return found


_SPANS = _window_spans()
WINDOWS = [(left, top, right, bottom) for (top, bottom), (left, right) in itertools.product(_SPANS, _SPANS)][1:]
"""Left, top, right, bottom of each window as shares of the image's sides."""


def _cell_weights(spans: Sequence[tuple[float, float]], count: int) -> Floats:
    """Return [len(spans) * count, SIDE]: weights that average the image's lines into `count` cells of each span."""
    edges = np.stack([np.linspace(low, high, count + 1) for low, high in spans]) * SIDE
    starts, ends = edges[:, :-1].reshape(-1, 1), edges[:, 1:].reshape(-1, 1)
    lines = np.arange(SIDE)
    overlap = np.clip(np.minimum(ends, lines + 1) - np.maximum(starts, lines), 0, None)
    return np.asarray(overlap / overlap.sum(1, keepdims=True), np.float32)


def _dct_weights() -> Floats:
    """Return [8, SIDE]: the eight lowest rows of the DCT-II of 32 points, each the mean of three lines of the image."""
    k, n = np.arange(8)[:, None], np.arange(32)[None]
    rows = np.cos(np.pi * (2 * n + 1) * k / 64) @ _cell_weights([(0.0, 1.0)], 32)
    return np.asarray(rows, np.float32)


_ROWS, _COLUMNS, _QUARTERS, _DCT_ROWS = (
    _cell_weights(_SPANS, 8),
    _cell_weights(_SPANS, 9),
    _cell_weights(_SPANS, 4),
    _dct_weights(),
)


# --- hashing ----------------------------------------------------------------------------------------------------------


def hash_file(path: Path) -> ImageHashes:
    """Hash an image file; a JPEG is decoded at reduced size.

    Raises:
        ImageError: as `data.open_image`.
    """
    return hash_image(flattened(open_small(path, 2 * SIDE)))


def open_small(path: Path, side: int) -> Image.Image:
    """Open an image as `data.open_image` does, RGBA if a pixel is not opaque; a JPEG may be decoded at reduced size.

    Args:
        path: of the file.
        side: shortest side in pixels to which a JPEG may be reduced.

    Raises:
        ImageError: as `data.open_image`.
    """
    with opened(path) as file:
        file.draft(None, (side, side))
        image = upright_srgb(file)
    opaque = image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255)
    return image.convert("RGB") if opaque else image


def hash_image(image: Image.Image) -> ImageHashes:
    """Hash an RGB image of any size."""
    small = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    thumb = np.asarray(small, np.float32)
    grey = thumb @ _LUMA
    frequencies = (_DCT_ROWS @ grey @ _DCT_ROWS.T).ravel()
    hashes, plain = _dhashes(grey)
    step = SIDE // THUMBNAIL_SIDE
    tiny = np.asarray(thumb.reshape(THUMBNAIL_SIDE, step, THUMBNAIL_SIDE, step, 3).mean((1, 3)) + 0.5, np.uint8)
    phash = _pack_bits(frequencies > np.median(frequencies))[0]
    return ImageHashes(phash, hashes[0], hashes[1:], plain, _cell_colors(thumb), tiny)


def _dhashes(grey: Floats) -> tuple[Hashes, NDArray[np.bool_]]:
    """Return the dHash of the image and of each window, and whether each is uninformative."""
    n = len(_SPANS)
    cells = (_ROWS @ grey @ _COLUMNS.T).reshape(n, 8, n, 9)
    steps = np.diff(cells, axis=3).transpose(0, 2, 1, 3).reshape(n * n, 64)
    return _pack_bits(steps > MIN_STEP), (np.abs(steps) > MIN_STEP).sum(1) < MIN_INFORMATIVE_CELLS


def _cell_colors(thumb: Floats) -> NDArray[np.uint8]:
    n = len(_SPANS)
    rows = np.tensordot(_QUARTERS, thumb, (1, 0))  # [4n, SIDE, 3]
    cells = np.tensordot(rows, _QUARTERS, (1, 1))  # [4n, 3, 4n]
    windows = cells.reshape(n, 4, 3, n, 4).transpose(0, 3, 1, 4, 2).reshape(n * n, 48)
    return np.asarray(np.clip(windows + 0.5, 0, 255), np.uint8)


def _pack_bits(bits: NDArray[np.bool_]) -> Hashes:
    return np.packbits(bits, axis=-1).reshape(-1, 8).view(np.uint64)[:, 0]
