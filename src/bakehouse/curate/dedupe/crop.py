"""Whether a picture is a crop of another one, and which part of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the picture's sides."""

SMALL = 192
"""Longest side in pixels of the picture that is searched."""
_PATCH = (40, 40)
_STEPS = (0.06, 0.03, 0.015, 0.008, 0.004, 0.002)
_LEAST = 0.3
"""No side of a crop is found below this share."""
_HOPELESS = 30.0
"""Levels of 255: a window that is this far off does not become the crop by moving it a little."""
_MOVES = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 0, 1, 0), (0, 1, 0, 1), (-1, -1, 1, 1))
"""Each edge alone, then all of it sideways, up and down, and larger."""


def find_crop(whole: Image.Image, part: Image.Image, starts: Sequence[Box]) -> tuple[Box, float]:
    """Where in `whole` the picture `part` was cut from, sought from several windows that are near it.

    Args:
        whole: an RGB image, not needed larger than `SMALL`.
        part: an RGB image that may be a crop of it, in any size.
        starts: windows to begin with, for example from `looks.crops`.

    Returns:
        The box and the mean difference there in levels of 255; the lower, the likelier.
    """
    wanted = _pixels(part.resize(_PATCH, Image.Resampling.BILINEAR, reducing_gap=2.0))
    found = [_refined(whole, wanted, start) for start in starts]
    return min(found, key=lambda one: (one[1], one[0]))


def _refined(whole: Image.Image, wanted: NDArray[np.int16], box: Box) -> tuple[Box, float]:
    """Downhill from `box` by ever smaller steps."""
    off = _off(whole, wanted, box)
    if off > _HOPELESS:
        return box, off
    for step in _STEPS:
        better = True
        while better:
            tried = [(_off(whole, wanted, other), other) for other in _around(box, step)]
            best, other = min(tried, default=(off, box))
            better = best < off
            if better:
                off, box = best, other
    return box, off


def _around(box: Box, step: float) -> Iterator[Box]:
    for move in _MOVES:
        for sign in (step, -step):
            left, top, right, bottom = (
                min(max(edge + sign * way, 0.0), 1.0) for edge, way in zip(box, move, strict=True)
            )
            if right - left >= _LEAST and bottom - top >= _LEAST:
                yield left, top, right, bottom


def _off(whole: Image.Image, wanted: NDArray[np.int16], box: Box) -> float:
    cut = whole.resize(_PATCH, Image.Resampling.BILINEAR, box=in_pixels(whole, box))
    return float(np.abs(_pixels(cut) - wanted).mean())


def in_pixels(image: Image.Image, box: Box) -> Box:
    """A box of shares in an image's own pixels."""
    width, height = image.size
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def _pixels(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image).astype(np.int16)
