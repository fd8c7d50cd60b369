"""A look: what is kept of a picture to find others like it, small enough for all of them to be compared at once.

Three things, all from one thumbnail: a pHash (the signs of an 8 x 8 DCT), a dHash (whether each of 8 x 8 cells is
brighter than the one left of it), and the dHashes of many windows of the picture. A crop has the dHash of the window
that it was cut from, whatever its shape, since all are squashed to one square.
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

Words = NDArray[np.uint64]
Floats = NDArray[np.float32]

SIDE = 96
"""Of the thumbnail; a JPEG is decoded at twice that."""
THUMB = 32
"""Side in pixels of what a look keeps of a picture; 3 kB."""
FLAT = 0.5
"""Two cells nearer than this (of 255) are equal: a flat ground must not give the bits of its noise."""
PLAIN = 16
"""A hash with fewer cells than this that differ from their neighbours says nothing of what is seen."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Look:
    """One picture's hashes, each of 64 bits."""

    phash: np.uint64
    dhash: np.uint64
    windows: Words
    """[W] the dHash of each of `WINDOWS`."""
    plain: NDArray[np.bool_]
    """[1 + W] whether the dHash says nothing; the first is the whole picture's."""
    colours: NDArray[np.uint8]
    """[1 + W, 48] mean colours of 4 x 4 cells, the whole picture's first."""
    thumb: NDArray[np.uint8]
    """[`THUMB`, `THUMB`, 3] the whole picture, squashed to a square."""


# --- windows ----------------------------------------------------------------------------------------------------------


def _intervals() -> list[tuple[float, float]]:
    """Along one side: the whole, and shares of it in steps; from 90 % to 60 %, since less is another picture."""
    found = [(0.0, 1.0)]
    for share, places in ((0.9, 3), (0.75, 4), (0.6, 5)):
        found += [(float(start), float(start) + share) for start in np.linspace(0, 1 - share, places)]
    return found


_SPANS = _intervals()
WINDOWS = [(left, top, right, bottom) for (top, bottom), (left, right) in itertools.product(_SPANS, _SPANS)][1:]
"""Left, top, right, bottom of each window as shares of the picture's sides."""


def _cells(spans: Sequence[tuple[float, float]], count: int) -> Floats:
    """[len(spans) * count, SIDE]: rows of weights that average a thumbnail's lines into `count` cells of each span."""
    edges = np.stack([np.linspace(low, high, count + 1) for low, high in spans]) * SIDE
    starts, ends = edges[:, :-1].reshape(-1, 1), edges[:, 1:].reshape(-1, 1)
    lines = np.arange(SIDE)
    overlap = np.clip(np.minimum(ends, lines + 1) - np.maximum(starts, lines), 0, None)
    return np.asarray(overlap / overlap.sum(1, keepdims=True), np.float32)


def _dct() -> Floats:
    """[8, SIDE]: the eight lowest rows of the DCT-II of 32 points, each the mean of three lines of the thumbnail."""
    k, n = np.arange(8)[:, None], np.arange(32)[None]
    rows = np.cos(np.pi * (2 * n + 1) * k / 64) @ _cells([(0.0, 1.0)], 32)
    return np.asarray(rows, np.float32)


_ROWS, _COLUMNS, _QUARTERS, _WAVES = _cells(_SPANS, 8), _cells(_SPANS, 9), _cells(_SPANS, 4), _dct()


# --- looking ----------------------------------------------------------------------------------------------------------


def look_at(path: Path) -> Look:
    """Decodes a file, a JPEG no finer than needed, and takes its look.

    Raises:
        ImageError: as `data.open_image`.
    """
    return look(flattened(open_small(path, 2 * SIDE)))


def open_small(path: Path, side: int) -> Image.Image:
    """As `data.open_image`, RGBA where a pixel is not opaque; a JPEG may come smaller, several times faster.

    Args:
        path: of the file.
        side: in pixels; no side of a JPEG comes smaller than this.

    Raises:
        ImageError: as `data.open_image`.
    """
    with opened(path) as file:
        file.draft(None, (side, side))
        image = upright_srgb(file)
    opaque = image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255)
    return image.convert("RGB") if opaque else image


def look(image: Image.Image) -> Look:
    """The look of an RGB image of any size."""
    small = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    thumb = np.asarray(small, np.float32)
    grey = thumb @ _LUMA
    waves = (_WAVES @ grey @ _WAVES.T).ravel()
    hashes, plain = _dhashes(grey)
    step = SIDE // THUMB
    tiny = np.asarray(thumb.reshape(THUMB, step, THUMB, step, 3).mean((1, 3)) + 0.5, np.uint8)
    phash = _packed(waves > np.median(waves))[0]
    return Look(phash, hashes[0], hashes[1:], plain, _colours(thumb), tiny)


def _dhashes(grey: Floats) -> tuple[Words, NDArray[np.bool_]]:
    """Of the picture and each window: the hash, and whether it is plain."""
    n = len(_SPANS)
    cells = (_ROWS @ grey @ _COLUMNS.T).reshape(n, 8, n, 9)
    steps = np.diff(cells, axis=3).transpose(0, 2, 1, 3).reshape(n * n, 64)
    return _packed(steps > FLAT), (np.abs(steps) > FLAT).sum(1) < PLAIN


def _colours(thumb: Floats) -> NDArray[np.uint8]:
    n = len(_SPANS)
    rows = np.tensordot(_QUARTERS, thumb, (1, 0))  # [4n, SIDE, 3]
    cells = np.tensordot(rows, _QUARTERS, (1, 1))  # [4n, 3, 4n]
    windows = cells.reshape(n, 4, 3, n, 4).transpose(0, 3, 1, 4, 2).reshape(n * n, 48)
    return np.asarray(np.clip(windows + 0.5, 0, 255), np.uint8)


def _packed(bits: NDArray[np.bool_]) -> Words:
    return np.packbits(bits, axis=-1).reshape(-1, 8).view(np.uint64)[:, 0]
