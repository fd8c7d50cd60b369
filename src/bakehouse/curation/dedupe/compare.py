"""Two pictures side by side: where they differ tells a re-save from another expression.

A re-save differs a little everywhere; another mouth differs much in one place. Two measures look for such a place.

The first brings both pictures to one canvas of 128 pixels and takes the mean difference of each of its 32 x 32 tiles:
it finds what is faint and wide, a blush or a shadow. In a screen of a game a whole face is two of those tiles, and a
mouth a hundredth of one. So the second takes the mean colours of cells of 8 x 8 of the smaller picture's own pixels.
What a JPEG changes inside its blocks of that size is not in their mean, and a closed eye is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bakehouse.data.open_image import flattened

MatchKind = Literal["duplicate", "variant", "near", "different"]
"""The same picture; the same picture with something changed; a crop of it; another picture."""
Size = tuple[int, int]
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

CANVAS = 128
"""Longest side in pixels of what is compared in tiles."""
TILE = 4
CELL = 8
"""Pixels of the smaller picture, a block of a JPEG."""
MAX_CELLS = 192
"""Along the longer side; above that, cells are larger."""
_DETAIL_STEP = 6
"""Sum over the colours: a cell that is no farther than this from its neighbours is flat, and flat grounds have no
noise."""
_MIN_DETAILED_CELLS = 16
"""So many cells are needed to tell what is usual."""


@dataclass(frozen=True)
class Difference:
    """How two pictures differ, in levels of 255."""

    largest: float
    """Of the tile that differs most."""
    usual: float
    """The 90th percentile of the tiles: one tile in ten differs more."""
    tiles: Floats
    """[rows, columns] the difference of each tile."""
    alpha: float = 0.0
    """The 90th percentile of what alpha alone differs by."""

    def local(self, most: float, ratio: float) -> bool:
        """Whether it is in one place: more than `most` there, and more than `ratio` times the usual."""
        return self.largest > most and self.largest > ratio * self.usual

    def changed(self, most: float, ratio: float) -> NDArray[np.bool_]:
        """[rows, columns] the tiles that make the difference local."""
        return self.tiles > max(most, ratio * self.usual)


@dataclass(frozen=True)
class ComparisonScale:
    """The sizes on which two pictures meet."""

    common: Size
    """Of the smaller one; a finer grain than its own cannot be compared."""
    canvas: Size
    cells: Size

    @classmethod
    def of(cls, a: Size, b: Size) -> ComparisonScale:
        """From the two pictures' sizes, whichever comes first."""
        small = min((a, b), key=lambda size: (size[0] * size[1], size))
        stretch = CANVAS / max(small)
        canvas = (_whole_tiles(small[0] * stretch), _whole_tiles(small[1] * stretch))
        share = min(1 / CELL, MAX_CELLS / max(small))
        cells = (max(1, round(small[0] * share)), max(1, round(small[1] * share)))
        # Above the canvas the smaller one's grain is gone anyway, and one canvas does for all partners.
        return cls(small if max(small) < CANVAS else canvas, canvas, cells)


def _whole_tiles(side: float) -> int:
    return max(TILE, int(side) // TILE * TILE)


@dataclass(frozen=True)
class PreparedImage:
    """A picture as it is compared, laid on white; with a fourth channel, its alpha, where it has one."""

    canvas: Bytes
    """[H, W, 3 or 4]."""
    cells: Bytes
    """[h, w, 3 or 4]."""


def prepare(image: Image.Image, scale: ComparisonScale) -> PreparedImage:
    """An RGB or RGBA image in the sizes of a scale.

    On the way to the canvas each pixel becomes the mean of those around it under a triangle, whose standard deviation
    is 0.4 pixels of the canvas. Cells want sharper borders: under a triangle, a mouth fades into the next three.
    """
    layers = [flattened(image), *([image.getchannel("A")] if image.mode == "RGBA" else [])]
    canvases = [np.atleast_3d(np.asarray(_on_canvas(layer, scale))) for layer in layers]
    cells = [np.atleast_3d(np.asarray(layer.resize(scale.cells, Image.Resampling.HAMMING))) for layer in layers]
    return PreparedImage(np.concatenate(canvases, 2), np.concatenate(cells, 2))


def _on_canvas(image: Image.Image, scale: ComparisonScale) -> Image.Image:
    if image.size != scale.common != scale.canvas:
        image = image.resize(scale.common, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image.resize(scale.canvas, Image.Resampling.BILINEAR, reducing_gap=3.0)


def tile_difference(a: PreparedImage, b: PreparedImage) -> Difference:
    """Of two prepared pictures by the tiles of their canvases. Alpha counts where both have it."""
    off = _absolute_difference(a.canvas, b.canvas)
    found = _tile_means(off)
    return found if off.shape[2] == 3 else replace(found, alpha=float(np.percentile(off[..., 3], 90)))


def cell_difference(a: PreparedImage, b: PreparedImage) -> Difference:
    """Of two prepared pictures by their cells. Alpha counts where both have it; usual is what busy cells differ by."""
    cells = _merge_channels(_absolute_difference(a.cells, b.cells).astype(np.float32))
    busy = _has_detail(a.cells) & _has_detail(b.cells)
    among = cells[busy] if busy.sum() >= _MIN_DETAILED_CELLS else cells
    return Difference(float(cells.max()), float(np.percentile(among, 90)), cells)


def recolored_difference(first: PreparedImage, second: PreparedImage) -> Difference:
    """Of two prepared pictures after the more colourful one is brought to the other's colours.

    First by a matrix and a shift (saturation, tints, grey), then by a curve for each channel (gamma, clipped lights).
    Colours everywhere the same follow this way; one that changed in one place alone does not.
    """
    a, b = first.canvas[..., :3], second.canvas[..., :3]
    if float(a.std()) < float(b.std()):
        a, b = b, a
    # One pixel in sixteen is plenty for a dozen numbers and three curves.
    x, y = a[::4, ::4].reshape(-1, 3).astype(np.float32), b[::4, ::4].reshape(-1, 3).astype(np.float32)
    matrix = np.linalg.lstsq(_with_ones(x), y, rcond=None)[0].astype(np.float32)
    fitted = (_with_ones(a.reshape(-1, 3).astype(np.float32)) @ matrix).reshape(a.shape)
    rough = _with_ones(x) @ matrix
    for channel in range(3):
        fitted[..., channel] = _apply_mean_curve(rough[:, channel], y[:, channel], fitted[..., channel])
    return _tile_means(np.abs(fitted - b))


def _with_ones(colours: Floats) -> Floats:
    return np.concatenate([colours, np.ones((len(colours), 1), np.float32)], 1)


def _apply_mean_curve(x: Floats, y: Floats, of: Floats) -> Floats:
    """`of` through the curve of the mean y at each x, in 32 steps."""
    steps = np.clip(x / 8, 0, 31.999).astype(np.int64)
    count, there = np.bincount(steps, minlength=32), np.bincount(steps, minlength=32) > 0
    at = np.bincount(steps, np.clip(x, 0, 256), 32)[there] / count[there]
    means = np.bincount(steps, y, 32)[there] / count[there]
    return np.interp(of, at, means).astype(np.float32)


def _absolute_difference(a: Bytes, b: Bytes) -> Bytes:
    """[H, W, 3 or 4] the absolute difference in the channels that both have."""
    channels = min(a.shape[2], b.shape[2])
    a, b = a[..., :channels], b[..., :channels]
    return np.maximum(a, b) - np.minimum(a, b)


def _tile_means(off: Bytes | Floats) -> Difference:
    high, wide, channels = off.shape[0] // TILE, off.shape[1] // TILE, off.shape[2]
    # Whole lines are added first, as they lie in memory.
    lines = off.reshape(high, TILE, wide * TILE * channels).sum(1, dtype=np.float32)
    tiles = _merge_channels(lines.reshape(high, wide, TILE, channels).sum(2) / np.float32(TILE * TILE))
    return Difference(float(tiles.max()), float(np.percentile(tiles, 90)), tiles)


def _merge_channels(off: Floats) -> Floats:
    """[H, W] the mean over the colours, or what alpha differs by where that is more."""
    colours: Floats = off[..., :3].mean(2, dtype=np.float32)
    return colours if off.shape[2] == 3 else np.maximum(colours, off[..., 3])


def _has_detail(cells: Bytes) -> NDArray[np.bool_]:
    """[h, w] the cells that differ from one beside, above or below them."""
    total = cells.sum(2, dtype=np.int16)
    busy = np.zeros(total.shape, bool)
    down, across = np.abs(np.diff(total, axis=0)) > _DETAIL_STEP, np.abs(np.diff(total, axis=1)) > _DETAIL_STEP
    busy[1:] |= down
    busy[:-1] |= down
    busy[:, 1:] |= across
    busy[:, :-1] |= across
    return busy
