"""Two pictures side by side: where they differ tells a re-save from another expression.

A re-save differs a little everywhere; another mouth differs much in one place. So both are brought to one canvas of 128
pixels, which softens them too: what a re-save changes from pixel to pixel is not looked at. What is looked at is the
mean difference of each of its 32 x 32 tiles, the largest and the 90th percentile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Verdict = Literal["duplicate", "variant", "near", "different"]
"""The same picture; the same picture with something changed; a crop of it; another picture."""
Size = tuple[int, int]
Floats = NDArray[np.float32]

CANVAS = 128
"""Longest side in pixels of what is compared."""
TILE = 4


@dataclass(frozen=True)
class Difference:
    """How two pictures differ, in levels of 255."""

    largest: float
    """Of the tile that differs most."""
    usual: float
    """The 90th percentile of the tiles: one tile in ten differs more."""
    tiles: NDArray[np.float32]
    """[rows, columns] mean difference of each tile."""

    def local(self, most: float, ratio: float) -> bool:
        """Whether it is in one place: more than `most` there, and more than `ratio` times the usual."""
        return self.largest > most and self.largest > ratio * self.usual

    def changed(self, most: float, ratio: float) -> NDArray[np.bool_]:
        """[rows, columns] the tiles that make the difference local."""
        return self.tiles > max(most, ratio * self.usual)


@dataclass(frozen=True)
class Scale:
    """The sizes on which two pictures meet."""

    common: Size
    """Of the smaller one; a finer grain than its own cannot be compared."""
    canvas: Size

    @classmethod
    def of(cls, a: Size, b: Size) -> Scale:
        """From the two pictures' sizes, whichever comes first."""
        small = min((a, b), key=lambda size: (size[0] * size[1], size))
        stretch = CANVAS / max(small)
        canvas = (_whole_tiles(small[0] * stretch), _whole_tiles(small[1] * stretch))
        # Above the canvas the smaller one's grain is gone anyway, and one canvas does for all partners.
        return cls(small if max(small) < CANVAS else canvas, canvas)


def _whole_tiles(side: float) -> int:
    return max(TILE, int(side) // TILE * TILE)


def prepare(image: Image.Image, scale: Scale) -> NDArray[np.uint8]:
    """An RGB image as it is compared: uint8 [H, W, 3] in the size of the canvas.

    On the way down each pixel becomes the mean of those around it under a triangle, whose standard deviation is 0.4
    pixels of the canvas.
    """
    if image.size != scale.common != scale.canvas:
        image = image.resize(scale.common, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(image.resize(scale.canvas, Image.Resampling.BILINEAR, reducing_gap=3.0))


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Difference:
    """Of two prepared pictures, as they are."""
    return _by_tiles(np.maximum(a, b) - np.minimum(a, b))


def recoloured_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Difference:
    """Of two prepared pictures after the more colourful one is brought to the other's colours.

    First by a matrix and a shift (saturation, tints, grey), then by a curve for each channel (gamma, clipped lights).
    Colours everywhere the same follow this way; one that changed in one place alone does not.
    """
    if float(a.std()) < float(b.std()):
        a, b = b, a
    # One pixel in sixteen is plenty for a dozen numbers and three curves.
    x, y = a[::4, ::4].reshape(-1, 3).astype(np.float32), b[::4, ::4].reshape(-1, 3).astype(np.float32)
    matrix = np.linalg.lstsq(_with_ones(x), y, rcond=None)[0].astype(np.float32)
    fitted = (_with_ones(a.reshape(-1, 3).astype(np.float32)) @ matrix).reshape(a.shape)
    rough = _with_ones(x) @ matrix
    for channel in range(3):
        fitted[..., channel] = _curve(rough[:, channel], y[:, channel], fitted[..., channel])
    return _by_tiles(np.abs(fitted - b))


def _with_ones(colours: Floats) -> Floats:
    return np.concatenate([colours, np.ones((len(colours), 1), np.float32)], 1)


def _curve(x: Floats, y: Floats, of: Floats) -> Floats:
    """`of` through the curve of the mean y at each x, in 32 steps."""
    steps = np.clip(x / 8, 0, 31.999).astype(np.int64)
    count, there = np.bincount(steps, minlength=32), np.bincount(steps, minlength=32) > 0
    at = np.bincount(steps, np.clip(x, 0, 256), 32)[there] / count[there]
    means = np.bincount(steps, y, 32)[there] / count[there]
    return np.interp(of, at, means).astype(np.float32)


def _by_tiles(off: NDArray[np.uint8] | Floats) -> Difference:
    high, wide = off.shape[0] // TILE, off.shape[1] // TILE
    # Whole lines are added first, as they lie in memory.
    lines = off.reshape(high, TILE, wide * TILE * 3).sum(1, dtype=np.float32)
    tiles = lines.reshape(high, wide, TILE * 3).sum(2) / np.float32(TILE * TILE * 3)
    return Difference(float(tiles.max()), float(np.percentile(tiles, 90)), tiles)
