"""Run a network on a large image tile by tile, without visible seams."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Run = Callable[[Floats], Floats]

RAMP = 8
"""Pixels over which neighbouring tiles are blended."""


def run_tiled(image: Floats, run: Run, *, tile: int, overlap: int) -> Floats:
    """Return the result of `run` for an image, computed in overlapping tiles.

    Near a tile's edge the network lacks context, so the outer (overlap - RAMP) / 2 pixels are discarded, and the next
    RAMP pixels are blended with the neighbour. If the network's receptive field is within the discarded pixels, the
    result equals that without tiles.

    Args:
        image: [h, w, c].
        run: maps [h, w, c] to [h * s, w * s, c] with a fixed integer s.
        tile: longest side of a tile in pixels.
        overlap: of neighbouring tiles, in pixels; less than half of `tile`.
    """
    height, width, _ = image.shape
    if max(height, width) <= tile:
        return run(image)
    rows, columns = tile_spans(height, tile, overlap), tile_spans(width, tile, overlap)
    total: Floats | None = None
    weights: Floats | None = None
    for top, bottom in rows:
        for left, right in columns:
            made = run(image[top:bottom, left:right])
            scale = made.shape[0] // (bottom - top)
            if total is None or weights is None:
                total = np.zeros((height * scale, width * scale, made.shape[2]), np.float32)
                weights = np.zeros((height * scale, width * scale, 1), np.float32)
            down = _fade(top, bottom, height, scale, overlap)
            across = _fade(left, right, width, scale, overlap)
            weight = (down[:, None] * across[None, :])[..., None]
            here = np.s_[top * scale : bottom * scale, left * scale : right * scale]
            total[here] += made * weight
            weights[here] += weight
    assert total is not None and weights is not None
    return np.divide(total, weights, dtype=np.float32)


def tile_spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Return evenly spaced tiles [start, end) of up to `tile` that cover `length` and overlap by `overlap` or more."""
    if length <= tile:
        return [(0, length)]
    count = math.ceil((length - overlap) / (tile - overlap))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    return [(start, start + tile) for start in starts]


def _fade(start: int, end: int, length: int, scale: int, overlap: int) -> Floats:
    """Return the weight of each output pixel of a tile along one axis; the image's own edges do not fade."""
    at = (np.arange((end - start) * scale, dtype=np.float32) + np.float32(0.5)) / np.float32(scale)
    thrown = np.float32((overlap - RAMP) / 2)
    weight = np.ones_like(at)
    if start > 0:
        weight = np.minimum(weight, (at - thrown) / RAMP)
    if end < length:
        weight = np.minimum(weight, (np.float32(end - start) - at - thrown) / RAMP)
    return np.clip(weight, 0.0, 1.0)
