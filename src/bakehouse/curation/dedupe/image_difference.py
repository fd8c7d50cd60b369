"""Measure where two images differ: everywhere a little (a re-compressed copy) or strongly in one place (a variant).

Two measures detect local changes. The first scales both images to a canvas of 128 pixels and takes the mean
difference of each of its 32 x 32 tiles; it finds faint, wide changes such as a blush or a shadow. In a screenshot of
a game a whole face covers two of those tiles, and a mouth a hundredth of one. So the second compares the mean colours
of cells of 8 x 8 pixels of the smaller image: JPEG compression hardly changes the means of its blocks, but a closed
eye does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bakehouse.data.open_image import flattened

MatchKind = Literal["duplicate", "variant", "near", "different"]
"""The same image; the same image with a change (another expression, outfit, colours); a crop of it; another image."""
Size = tuple[int, int]
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

CANVAS = 128
"""Longest side in pixels of the canvas on which tiles are compared."""
TILE = 4
CELL = 8
"""Side of a cell in pixels of the smaller image: that of a JPEG block."""
MAX_CELLS = 192
"""Most cells along the longer side; larger images have larger cells."""
_DETAIL_STEP = 6
"""A cell is detailed if it differs from a neighbour by more than this, summed over the channels. Flat areas have no
compression noise."""
_MIN_DETAILED_CELLS = 16
"""Fewest detailed cells from which the 90th percentile is estimated."""


@dataclass(frozen=True)
class Difference:
    """The difference of two images, in levels 0..255."""

    largest: float
    """Difference of the most different tile."""
    percentile_90: float
    """90th percentile of the tile differences."""
    tiles: Floats
    """[rows, columns]: difference of each tile."""
    alpha: float = 0.0
    """90th percentile of the difference in alpha."""

    def local(self, most: float, ratio: float) -> bool:
        """Return whether one place differs by more than `most` and by `ratio` times the 90th percentile."""
        return self.largest > most and self.largest > ratio * self.percentile_90

    def changed(self, most: float, ratio: float) -> NDArray[np.bool_]:
        """Return [rows, columns]: which tiles make the difference local."""
        return self.tiles > max(most, ratio * self.percentile_90)


@dataclass(frozen=True)
class ComparisonScale:
    """The sizes to which two images are scaled for comparison."""

    common: Size
    """Size of the smaller image, beyond whose detail nothing can be compared."""
    canvas: Size
    cells: Size

    @classmethod
    def of(cls, a: Size, b: Size) -> ComparisonScale:
        """Return the scale for two image sizes, in either order."""
        small = min((a, b), key=lambda size: (size[0] * size[1], size))
        stretch = CANVAS / max(small)
        canvas = (_whole_tiles(small[0] * stretch), _whole_tiles(small[1] * stretch))
        share = min(1 / CELL, MAX_CELLS / max(small))
        cells = (max(1, round(small[0] * share)), max(1, round(small[1] * share)))
        # Above the canvas size the smaller image's detail is lost anyway, and one canvas serves all comparisons.
        return cls(small if max(small) < CANVAS else canvas, canvas, cells)


def _whole_tiles(side: float) -> int:
    return max(TILE, int(side) // TILE * TILE)


@dataclass(frozen=True)
class PreparedImage:
    """An image scaled for comparison, on white, with its alpha as a fourth channel if it has one."""

    canvas: Bytes
    """[H, W, 3 or 4]."""
    cells: Bytes
    """[h, w, 3 or 4]."""


def prepare(image: Image.Image, scale: ComparisonScale) -> PreparedImage:
    """Scale an RGB or RGBA image for comparison.

    The canvas is reduced with a triangle filter (standard deviation 0.4 canvas pixels). Cells use a sharper filter:
    with a triangle filter a mouth would spread over three neighbouring cells.
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
    """Compare two images by the tiles of their canvases; alpha counts if both have it."""
    off = _absolute_difference(a.canvas, b.canvas)
    found = _tile_means(off)
    return found if off.shape[2] == 3 else replace(found, alpha=float(np.percentile(off[..., 3], 90)))


def cell_difference(a: PreparedImage, b: PreparedImage) -> Difference:
    """Compare two images by their cells; alpha counts if both have it. `percentile_90` is that of detailed cells."""
    cells = _merge_channels(_absolute_difference(a.cells, b.cells).astype(np.float32))
    busy = _has_detail(a.cells) & _has_detail(b.cells)
    among = cells[busy] if busy.sum() >= _MIN_DETAILED_CELLS else cells
    return Difference(float(cells.max()), float(np.percentile(among, 90)), cells)


def recolored_difference(first: PreparedImage, second: PreparedImage) -> Difference:
    """Compare two images after mapping the colours of the more colourful one to those of the other.

    The mapping is an affine colour transform (saturation, tint, greyscale) and a curve per channel (gamma, clipping).
    It models global colour changes, not a change in one place.
    """
    a, b = first.canvas[..., :3], second.canvas[..., :3]
    if float(a.std()) < float(b.std()):
        a, b = b, a
    # One pixel in sixteen suffices to fit twelve parameters and three curves.
    x, y = a[::4, ::4].reshape(-1, 3).astype(np.float32), b[::4, ::4].reshape(-1, 3).astype(np.float32)
    matrix = np.linalg.lstsq(_with_ones(x), y, rcond=None)[0].astype(np.float32)
    fitted = (_with_ones(a.reshape(-1, 3).astype(np.float32)) @ matrix).reshape(a.shape)
    rough = _with_ones(x) @ matrix
    for channel in range(3):
        fitted[..., channel] = _apply_mean_curve(rough[:, channel], y[:, channel], fitted[..., channel])
    return _tile_means(np.abs(fitted - b))


def _with_ones(colors: Floats) -> Floats:
    return np.concatenate([colors, np.ones((len(colors), 1), np.float32)], 1)


def _apply_mean_curve(x: Floats, y: Floats, of: Floats) -> Floats:
    """Map `of` through the curve of mean y by x, in 32 bins."""
    steps = np.clip(x / 8, 0, 31.999).astype(np.int64)
    count, there = np.bincount(steps, minlength=32), np.bincount(steps, minlength=32) > 0
    at = np.bincount(steps, np.clip(x, 0, 256), 32)[there] / count[there]
    means = np.bincount(steps, y, 32)[there] / count[there]
    return np.interp(of, at, means).astype(np.float32)


def _absolute_difference(a: Bytes, b: Bytes) -> Bytes:
    """Return [H, W, 3 or 4]: the absolute difference in the channels that both have."""
    channels = min(a.shape[2], b.shape[2])
    a, b = a[..., :channels], b[..., :channels]
    return np.maximum(a, b) - np.minimum(a, b)


def _tile_means(off: Bytes | Floats) -> Difference:
    high, wide, channels = off.shape[0] // TILE, off.shape[1] // TILE, off.shape[2]
    # Sum whole rows first: they are contiguous in memory.
    lines = off.reshape(high, TILE, wide * TILE * channels).sum(1, dtype=np.float32)
    tiles = _merge_channels(lines.reshape(high, wide, TILE, channels).sum(2) / np.float32(TILE * TILE))
    return Difference(float(tiles.max()), float(np.percentile(tiles, 90)), tiles)


def _merge_channels(off: Floats) -> Floats:
    """Return [H, W]: the mean over the colour channels, or the alpha difference where it is larger."""
    colors: Floats = off[..., :3].mean(2, dtype=np.float32)
    return colors if off.shape[2] == 3 else np.maximum(colors, off[..., 3])


def _has_detail(cells: Bytes) -> NDArray[np.bool_]:
    """Return [h, w]: which cells differ from a neighbour."""
    total = cells.sum(2, dtype=np.int16)
    busy = np.zeros(total.shape, bool)
    down, across = np.abs(np.diff(total, axis=0)) > _DETAIL_STEP, np.abs(np.diff(total, axis=1)) > _DETAIL_STEP
    busy[1:] |= down
    busy[:-1] |= down
    busy[:, 1:] |= across
    busy[:, :-1] |= across
    return busy
