"""Test many crop candidates at once on thumbnails; `crop_detection` aligns the remaining ones precisely."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SIDE = 10
"""Side in pixels of the aligned images."""
_ROUNDS = 8
_LEAST = 0.3
_OUTLIER = 4.0
_DAMPING = 1e-3
"""Damping of the normal equations, for images without gradients."""


def best_fit_error(wholes: NDArray[np.uint8], parts: NDArray[np.uint8], boxes: NDArray[np.float64]) -> Floats:
    """Return [N]: each part's mean difference (0..255) from its whole at the best fit near a window.

    Args:
        wholes: [N, S, S, 3] thumbnails.
        parts: [N, S, S, 3] thumbnails of possible crops.
        boxes: [N, 4] windows to start from: left, top, right, bottom as shares of the sides.
    """
    count, side = wholes.shape[:2]
    large, all_of_it = wholes.astype(np.float32), np.tile([0.0, 0.0, 1.0, 1.0], (count, 1))
    wanted = _cut(parts.astype(np.float32), all_of_it, side)
    best = np.full(count, np.inf, np.float32)
    for _ in range(_ROUNDS):
        cut = _cut(large, boxes, side)
        best = np.minimum(best, np.abs(wanted - cut).mean((1, 2, 3)))
        boxes = _inside(boxes + _step(cut, wanted, boxes))
    return np.asarray(np.minimum(best, np.abs(wanted - _cut(large, boxes, side)).mean((1, 2, 3))), np.float32)


def _step(cut: Floats, wanted: Floats, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [N, 4]: the Gauss-Newton move of each edge, as in `crop_detection`."""
    down, across = np.gradient(cut, axis=(1, 2))
    down *= (_SIDE / (boxes[:, 3] - boxes[:, 1]))[:, None, None, None]
    across *= (_SIDE / (boxes[:, 2] - boxes[:, 0]))[:, None, None, None]
    at = ((np.arange(_SIDE) + 0.5) / _SIDE).astype(np.float32)
    x, y = at[None, None, :, None], at[None, :, None, None]
    slopes = np.stack([across * (1 - x), down * (1 - y), across * x, down * y], 1).reshape(len(cut), 4, -1)
    off = (wanted - cut).reshape(len(cut), -1, 1)
    weighted = slopes / np.maximum(np.abs(off), _OUTLIER).transpose(0, 2, 1)
    squares = weighted @ slopes.transpose(0, 2, 1)
    squares += np.eye(4) * (_DAMPING * np.trace(squares, axis1=1, axis2=2) + 1e-6)[:, None, None]
    return np.asarray(np.linalg.solve(squares, weighted @ off)[..., 0], np.float64)


def _inside(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    boxes = boxes.clip(0, 1)
    boxes[:, :2] = np.minimum(boxes[:, :2], 1 - _LEAST)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + _LEAST)
    return boxes


def _cut(images: Floats, boxes: NDArray[np.float64], side: int) -> Floats:
    """Return [N, 10, 10, 3]: the content of each image's box as means of cells."""
    rows, columns = (
        _averaging_weights(boxes[:, 1], boxes[:, 3], side),
        _averaging_weights(boxes[:, 0], boxes[:, 2], side),
    )
    lines = rows @ images.reshape(len(images), side, -1)
    cells = columns[:, None] @ lines.reshape(len(images), _SIDE, side, 3)
    return np.asarray(cells, np.float32)


def _averaging_weights(low: NDArray[np.float64], high: NDArray[np.float64], side: int) -> Floats:
    """Return [N, 10, side]: weights that average the lines between two edges into overlapping cells."""
    width = ((high - low) * side / _SIDE)[:, None, None]
    middles = (low * side)[:, None, None] + width * (np.arange(_SIDE) + 0.5)[None, :, None]
    # Triangle filters twice as wide as a cell: with box filters, windows that are off by one cell do not converge.
    weights = np.clip(1 - np.abs(np.arange(side) + 0.5 - middles) / np.maximum(width, 1), 1e-6, None)
    return np.asarray(weights / weights.sum(2, keepdims=True), np.float32)
