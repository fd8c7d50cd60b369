"""A large image through a network piece by piece, with nothing to be seen where the pieces meet."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Run = Callable[[Floats], Floats]

RAMP = 8
"""Pixels over which one piece fades into the next."""


def run_tiled(image: Floats, run: Run, *, tile: int, overlap: int) -> Floats:
    """What `run` makes of an image, as if it had seen all of it at once.

    Pieces overlap. What a network makes near the edge of a piece depends on what it does not see, so the outer
    (overlap - RAMP) / 2 pixels are thrown away, and over the next RAMP pixels pieces are blended. A network that looks
    no further than what is thrown away gives the same numbers as without pieces.

    Args:
        image: [h, w, c].
        run: [h, w, c] to [h * s, w * s, c] with one whole s for all sizes.
        tile: longest side of a piece in pixels.
        overlap: of neighbouring pieces, in pixels; less than half of `tile`.
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
    """Pieces [start, end) of at most `tile` that cover `length` and overlap by `overlap` or more, evenly laid."""
    if length <= tile:
        return [(0, length)]
    count = math.ceil((length - overlap) / (tile - overlap))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    return [(start, start + tile) for start in starts]


def _fade(start: int, end: int, length: int, scale: int, overlap: int) -> Floats:
    """Weight of each output pixel of a piece along one axis; an edge that is the image's own does not fade."""
    at = (np.arange((end - start) * scale, dtype=np.float32) + np.float32(0.5)) / np.float32(scale)
    thrown = np.float32((overlap - RAMP) / 2)
    weight = np.ones_like(at)
    if start > 0:
        weight = np.minimum(weight, (at - thrown) / RAMP)
    if end < length:
        weight = np.minimum(weight, (np.float32(end - start) - at - thrown) / RAMP)
    return np.clip(weight, 0.0, 1.0)
