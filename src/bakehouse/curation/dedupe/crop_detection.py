"""Whether a picture is a crop of another one, and which part of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the picture's sides."""
Floats = NDArray[np.float32]
Edges = NDArray[np.float64]

SMALL = 192
"""Longest side in pixels of the picture that is searched."""
_SIDES = (10, 20, 40)
"""Of the pictures that are laid over each other, the coarsest first: it sees farthest."""
_ROUNDS = 8
_MIN_MOVE = 0.0005
"""A move by less than this share of a side is none."""
_MIN_SIDE = 0.3
"""No side of a crop is found below this share."""
_OUTLIER = 4.0
"""Levels of 255: what differs more counts less, so that another mouth does not pull the box aside."""
_GOOD_FIT = 4.0
"""Levels of 255: a window that fits so well needs no other one beside it."""


def find_crop(
    whole: Image.Image, part: Image.Image, starts: Sequence[Box], *, most: float = 255.0
) -> tuple[Box, float]:
    """Where in `whole` the picture `part` was cut from, sought from several windows that are near it.

    Each window is moved and stretched until the two pictures lie over each other (Lucas and Kanade 1981, with four
    unknowns: the edges), from coarse to fine.

    Args:
        whole: an RGB image, not needed larger than `SMALL`.
        part: an RGB image that may be a crop of it, in any size.
        starts: windows to begin with, for example from `candidates.crops`; the likeliest first.
        most: a window that is farther off on the coarsest picture is given up.

    Returns:
        The box and the mean difference there in levels of 255; the lower, the likelier.
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
    """The window after it was laid over each of the wanted pictures in turn, and how far it is off the last."""
    box = np.array(start)
    for picture in wanted:
        for _ in range(_ROUNDS):
            moved = _inside(box + _step(whole, picture, box))
            still = np.abs(moved - box).max() < _MIN_MOVE
            box = moved
            if still:
                break
    return tuple(box.tolist()), float(np.abs(_cut(whole, box, len(wanted[-1])) - wanted[-1]).mean())


def _step(whole: Image.Image, wanted: Floats, box: Edges) -> Edges:
    """By how much to move each edge: the least squares of what would still differ, were the picture a plane there."""
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
    """The window within the picture, and not too small."""
    box = box.clip(0, 1)
    box[:2] = np.minimum(box[:2], 1 - _MIN_SIDE)
    box[2:] = np.maximum(box[2:], box[:2] + _MIN_SIDE)
    return box


def _cut(whole: Image.Image, box: Edges, side: int) -> Floats:
    return _pixels(whole.resize((side, side), Image.Resampling.BILINEAR, box=in_pixels(whole, tuple(box.tolist()))))


def in_pixels(image: Image.Image, box: Box) -> Box:
    """A box of shares in an image's own pixels."""
    width, height = image.size
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def _pixels(image: Image.Image) -> Floats:
    return np.asarray(image, np.float32)
