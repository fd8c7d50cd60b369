"""Locate the region of an image that another image was cropped from, by image registration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the image's sides."""
Floats = NDArray[np.float32]
Edges = NDArray[np.float64]

SMALL = 192
"""Longest side in pixels of the image that is searched."""
_SIDES = (10, 20, 40)
"""Sides in pixels of the aligned images, coarsest first: coarse levels converge from farther away."""
_ROUNDS = 8
_MIN_MOVE = 0.0005
"""Convergence limit: a smaller move, as a share of a side, ends the iteration."""
_MIN_SIDE = 0.3
"""Smallest side of a crop, as a share of the image's."""
_OUTLIER = 4.0
"""Levels of 255: larger differences are down-weighted, so that a changed mouth does not shift the box."""
_GOOD_FIT = 4.0
"""Levels of 255: at this error no further windows are tried."""


def find_crop(
    whole: Image.Image, part: Image.Image, starts: Sequence[Box], *, most: float = 255.0
) -> tuple[Box, float]:
    """Find the box in `whole` that `part` was cropped from, starting from several windows near it.

    Each window's four edges are refined from coarse to fine (Lucas and Kanade 1981).

    Args:
        whole: an RGB image; `SMALL` pixels are enough.
        part: an RGB image of any size that may be a crop of it.
        starts: windows to start from, the likeliest first, such as those of `candidates.crop_candidates`.
        most: give up a window whose error on the coarsest level is larger.

    Returns:
        The box and the mean difference there in levels 0..255.
    """
    wanted = [_pixels(part.resize((n, n), Image.Resampling.BILINEAR, reducing_gap=2.0)) for n in _SIDES]
    best: tuple[Box, float] = starts[0], np.inf
    for start in starts:
        box, off = _refined(whole, wanted[:1], start)
        if off > most:
            continue
        box, off = _refined(whole, wanted[1:], box)
        best = min(best, (box, off), key=lambda one: one[1])
        if best[1] <= _GOOD_FIT:
            break
    return best


def _refined(whole: Image.Image, wanted: Sequence[Floats], start: Box) -> tuple[Box, float]:
    """Return the window after alignment with each level in turn, and its error on the last level."""
    box = np.array(start)
    for level in wanted:
        for _ in range(_ROUNDS):
            moved = _inside(box + _step(whole, level, box))
            still = np.abs(moved - box).max() < _MIN_MOVE
            box = moved
            if still:
                break
    return tuple(box.tolist()), float(np.abs(_cut(whole, box, len(wanted[-1])) - wanted[-1]).mean())


def _step(whole: Image.Image, wanted: Floats, box: Edges) -> Edges:
    """Return the move of each edge that minimises the linearised squared difference (a Gauss-Newton step)."""
    side = len(wanted)
    cut = _cut(whole, box, side)
    down, across = np.gradient(cut, axis=(0, 1))
    down, across = down * side / (box[3] - box[1]), across * side / (box[2] - box[0])
    at = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = at[None, :, None], at[:, None, None]
    slopes = np.stack([across * (1 - x), down * (1 - y), across * x, down * y]).reshape(4, -1)
    off = (wanted - cut).ravel()
    weighted = slopes / np.maximum(np.abs(off), _OUTLIER)
    return np.asarray(np.linalg.lstsq(weighted @ slopes.T, weighted @ off, rcond=1e-4)[0], np.float64)


def _inside(box: Edges) -> Edges:
    """Clip the window to the image and to the smallest side."""
    box = box.clip(0, 1)
    box[:2] = np.minimum(box[:2], 1 - _MIN_SIDE)
    box[2:] = np.maximum(box[2:], box[:2] + _MIN_SIDE)
    return box


def _cut(whole: Image.Image, box: Edges, side: int) -> Floats:
    return _pixels(whole.resize((side, side), Image.Resampling.BILINEAR, box=in_pixels(whole, tuple(box.tolist()))))


def in_pixels(image: Image.Image, box: Box) -> Box:
    """Convert a box of shares to an image's pixels."""
    width, height = image.size
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def _pixels(image: Image.Image) -> Floats:
    return np.asarray(image, np.float32)
