"""An exact index of images by their mean colours, to find the images similar to a window without comparing all.

The sum of the 48 cell differences of two images, with any signs, is at most the sum of their absolute values. So if
one such sum exceeds the limit, the images are not similar. Images are sorted into the leaves of a k-d tree over eight
signed sums (Bentley 1975), and a window is compared only with leaves within the limit in all of them. No match is lost.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bakehouse.curation.dedupe.image_hashes import Hashes

Numbers = NDArray[np.int64]
Places = NDArray[np.int64]
Colors = NDArray[np.int16] | NDArray[np.uint8]

_HALVES = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, -1, 1]])
_CHANNELS = np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]])
_USED = ((0, 0, 0), (0, 0, 2), (1, 0, 0), (0, 0, 1), (0, 2, 0), (0, 1, 0), (1, 0, 2), (0, 0, 3))
"""Indices of row, column and channel signs: the combinations that best separate drawings of the same composition."""
_SIGNS = np.stack([np.einsum("i,j,k->ijk", _HALVES[r], _HALVES[c], _CHANNELS[k]).ravel() for r, c, k in _USED])
"""[8, 48]: signs of the eight sums."""
_LEAF = 32
"""Most images per leaf; smaller leaves would mean more leaves to compare with."""


class ColorIndex:
    """Finds images by hash and mean colours."""

    def __init__(self, hashes: Hashes, means: NDArray[np.int16], within: int, color: float) -> None:
        """Index images, which are given by their position.

        Args:
            hashes: [N] hashes.
            means: [N, 48] mean colours of 4 x 4 cells.
            within: most bits of 64 in which hashes may differ.
            color: largest average difference (0..255) of the mean colours.
        """
        self._means, self._within, self._color = means, within, color
        self._sums = _sums(means)
        self._limit = math.floor(48 * color) + 1
        leaves = _leaves(self._sums, np.arange(len(means)))
        # All leaves have the same length; unused places are -1.
        self._numbers = np.full((len(leaves), _LEAF), -1, np.int64)
        for row, leaf in zip(self._numbers, leaves, strict=True):
            row[: len(leaf)] = leaf
        self._hashes = hashes[self._numbers] if len(means) else np.zeros((0, _LEAF), np.uint64)
        low = np.array([self._sums[:, leaf].min(1) for leaf in leaves], np.int32).reshape(-1, 8) - self._limit
        high = np.array([self._sums[:, leaf].max(1) for leaf in leaves], np.int32).reshape(-1, 8) + self._limit
        # In uint16 negative numbers wrap around to large ones, so one comparison tests both bounds.
        self._low, self._width = low.T.astype(np.uint16), (high - low).T.astype(np.uint16)

    def search(self, hashes: Hashes, colors: NDArray[np.uint8]) -> tuple[Numbers, Numbers, NDArray[np.float64]]:
        """Return similar pairs as indices of windows and of images, and the average difference of their colours.

        Args:
            hashes: [W] hashes of windows.
            colors: [W, 48] mean colours of 4 x 4 cells of the windows.
        """
        sums = _sums(colors)
        possible = np.ones((self._low.shape[1], len(hashes)), bool)
        for mine, low, width in zip(sums.astype(np.uint16), self._low, self._width, strict=True):
            possible &= mine - low[:, None] <= width[:, None]
        w, j = self._similar_hashes(hashes, possible)
        for mine, theirs in zip(sums, self._sums, strict=True):
            maybe = np.flatnonzero(np.abs(mine.take(w) - theirs.take(j)) <= self._limit)
            w, j = w.take(maybe), j.take(maybe)
        off = np.abs(colors[w] - self._means[j]).mean(1)
        near = off <= self._color
        return w[near], j[near], off[near]

    def _similar_hashes(self, hashes: Hashes, possible: NDArray[np.bool_]) -> tuple[Places, Numbers]:
        """Return indices of windows and of images with similar hashes; `possible` [leaves, W] says what to compare."""
        windows, images = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for leaf, theirs, numbers in zip(possible, self._hashes, self._numbers, strict=True):
            window = np.flatnonzero(leaf)
            row, place = _true_indices(np.bitwise_count(hashes.take(window)[:, None] ^ theirs) <= self._within)
            if len(row):
                found = numbers[place]
                windows.append(window[row][found >= 0])
                images.append(found[found >= 0])
        return np.concatenate(windows), np.concatenate(images)


def _sums(colors: Colors) -> NDArray[np.int16]:
    """Return the signed sums [8, N] of mean colours [N, 48]."""
    return np.asarray(_SIGNS.astype(np.float32) @ colors.T.astype(np.float32), np.int16)


def _leaves(sums: NDArray[np.int16], numbers: Numbers) -> list[Numbers]:
    """Split images at the median of the sum with the largest range until at most `_LEAF` are left in each part."""
    if len(numbers) <= _LEAF:
        return [numbers] if len(numbers) else []
    apart = np.ptp(sums[:, numbers].astype(np.int32), axis=1).argmax()
    order = numbers[np.argsort(sums[apart, numbers], kind="stable")]
    middle = len(order) // 2
    return _leaves(sums, order[:middle]) + _leaves(sums, order[middle:])


def _true_indices(found: NDArray[np.bool_]) -> tuple[Places, Places]:
    """Return rows and columns of the true values; faster than `nonzero` for few of them."""
    flat = np.flatnonzero(found)
    row = (flat.astype(np.int32) // np.int32(max(1, found.shape[1]))).astype(np.int64)
    return row, flat - row * found.shape[1]
