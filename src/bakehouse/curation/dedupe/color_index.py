"""An index of pictures by their colours: which of them a window may be, without comparing it with all.

Any sum of the 48 differences of two pictures' cells, each taken with plus or minus, is at most the sum of their sizes.
So if one such sum is too large, the two are not near. Pictures are sorted into leaves of a tree by eight of these sums
(Bentley 1975), and a window is compared only with those of the leaves that are not too far in any of them. Nothing that
is near is lost.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bakehouse.curation.dedupe.image_hashes import Words

Numbers = NDArray[np.int64]
Places = NDArray[np.int64]
Colours = NDArray[np.int16] | NDArray[np.uint8]

_HALVES = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, -1, 1]])
_CHANNELS = np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]])
_USED = ((0, 0, 0), (0, 0, 2), (1, 0, 0), (0, 0, 1), (0, 2, 0), (0, 1, 0), (1, 0, 2), (0, 0, 3))
"""Signs of rows, of columns and of channels: those that part drawings of one composition best."""
_SIGNS = np.stack([np.einsum("i,j,k->ijk", _HALVES[r], _HALVES[c], _CHANNELS[k]).ravel() for r, c, k in _USED])
"""[8, 48]."""
_LEAF = 32
"""Pictures of a leaf at most: with half as many, twice as many leaves are to be compared with."""

_BLOCK = 1024
"""So many windows meet a leaf at a time: what that takes stays in the fast part of the memory."""


class ColourIndex:
    """Pictures by their hashes and mean colours."""

    def __init__(self, hashes: Words, means: NDArray[np.int16], within: int, colour: float) -> None:
        """Of pictures by their numbers.

        Args:
            hashes: [N].
            means: [N, 48] mean colours of 4 x 4 cells.
            within: bits of 64 in which hashes may differ.
            colour: how far apart mean colours may be on average, of 255.
        """
        self._means, self._within, self._colour = means, within, colour
        self._sums = _sums(means)
        self._most = math.floor(48 * colour) + 1
        leaves = _leaves(self._sums, np.arange(len(means)))
        # Leaves have one length; places without a picture say -1.
        self._numbers = np.full((len(leaves), _LEAF), -1, np.int64)
        for row, leaf in zip(self._numbers, leaves, strict=True):
            row[: len(leaf)] = leaf
        self._hashes = hashes[self._numbers] if len(means) else np.zeros((0, _LEAF), np.uint64)
        low = np.array([self._sums[:, leaf].min(1) for leaf in leaves], np.int32).reshape(-1, 8) - self._most
        high = np.array([self._sums[:, leaf].max(1) for leaf in leaves], np.int32).reshape(-1, 8) + self._most
        # Of 16 bits, a number below zero is a large one, so that one comparison does for both ends.
        self._low, self._width = low.T.astype(np.uint16), (high - low).T.astype(np.uint16)

    def near(self, words: Words, colours: NDArray[np.uint8]) -> tuple[Numbers, Numbers, NDArray[np.float64]]:
        """Pairs (window, picture), and how far apart their colours are, for windows by their hashes and mean colours.

        Args:
            words: [W] hashes.
            colours: [W, 48] mean colours of 4 x 4 cells.
        """
        sums = _sums(colours)
        open_ = np.ones((len(words), self._low.shape[1]), bool)
        for mine, low, width in zip(sums.astype(np.uint16), self._low, self._width, strict=True):
            open_ &= mine[:, None] - low <= width
        w, j = self._alike(words, *_places(open_))
        for mine, theirs in zip(sums, self._sums, strict=True):
            maybe = np.flatnonzero(np.abs(mine.take(w) - theirs.take(j)) <= self._most)
            w, j = w.take(maybe), j.take(maybe)
        off = np.abs(colours[w] - self._means[j]).mean(1)
        near = off <= self._colour
        return w[near], j[near], off[near]

    def _alike(self, words: Words, window: Places, leaf: Places) -> tuple[Places, Numbers]:
        """Of windows and leaves: the pictures there whose hashes are near."""
        windows, pictures = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for start in range(0, len(window), _BLOCK):
            part = slice(start, start + _BLOCK)
            row, place = _places(
                np.bitwise_count(words.take(window[part])[:, None] ^ self._hashes.take(leaf[part], 0)) <= self._within
            )
            found = self._numbers[leaf[part][row], place]
            windows.append(window[part][row][found >= 0])
            pictures.append(found[found >= 0])
        return np.concatenate(windows), np.concatenate(pictures)


def _sums(colours: Colours) -> NDArray[np.int16]:
    """[8, N] the sums of mean colours [N, 48]."""
    return np.asarray(_SIGNS.astype(np.float32) @ colours.T.astype(np.float32), np.int16)


def _leaves(sums: NDArray[np.int16], numbers: Numbers) -> list[Numbers]:
    """Pictures by their numbers, halved where they are farthest apart until few are left."""
    if len(numbers) <= _LEAF:
        return [numbers] if len(numbers) else []
    apart = np.ptp(sums[:, numbers].astype(np.int32), axis=1).argmax()
    order = numbers[np.argsort(sums[apart, numbers], kind="stable")]
    middle = len(order) // 2
    return _leaves(sums, order[:middle]) + _leaves(sums, order[middle:])


def _places(found: NDArray[np.bool_]) -> tuple[Places, Places]:
    """Rows and columns of what is true; in one dimension numpy passes over the rest quickly."""
    flat = np.flatnonzero(found)
    row = (flat.astype(np.int32) // np.int32(max(1, found.shape[1]))).astype(np.int64)
    return row, flat - row * found.shape[1]
