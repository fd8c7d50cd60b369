"""Find candidate pairs of recoloured images on thumbnails, a few for each image, without opening files.

Plain drawings of one shape all have the same hashes, whatever their colours: a thousand of them are half a million
pairs. To find the groups, each image need not be compared with all others of its group. It is compared with the groups'
representatives first, and an image that fits none of them, nor another member, represents a new group. So the number
of pairs grows in proportion to the number of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from bakehouse.curation.dedupe.image_hashes import ImageHashes

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
Thumbnails = NDArray[np.uint8]

_MOST_TRIED = 64
"""Most images that are tried for one image, representatives and near hashes first."""
_BATCH = 8
"""Images that are tried at a time; if one of them fits, no others are tried."""
_MOST_PAIRS = 4
"""Most pairs per image; the others are compared if the first one does not hold in detail."""
_BINS = 32
"""Bins of the curves per channel, as in `image_difference.recolored_difference`."""
_DAMPING = 1e-5
"""Damping of the normal equations, for images of fewer than four colours."""


def recolored_pairs(
    hashes: Sequence[ImageHashes], within: int, most: float, apart_from: Iterable[tuple[int, int]] = ()
) -> list[tuple[int, int]]:
    """Return sorted pairs (i, j), i < j, of images that may be the same in other colours, at most four for each j.

    Args:
        hashes: of all images.
        within: most bits of 64 in which pHashes and dHashes may differ.
        most: largest difference (0..255) of nine tenths of the thumbnails' pixels after their colours are matched.
        apart_from: pairs that need not be returned.
    """
    known = set(apart_from)
    phash, dhash = (np.array([getattr(one, name) for one in hashes], np.uint64) for name in ("phash", "dhash"))
    informative = np.array([not one.uninformative[0] for one in hashes], bool)
    represents = np.zeros(len(hashes), bool)
    found: list[tuple[int, int]] = []
    for j in range(len(hashes)):
        near = np.zeros(0, np.int64)
        if informative[j]:
            bits = np.maximum(np.bitwise_count(phash[:j] ^ phash[j]), np.bitwise_count(dhash[:j] ^ dhash[j]))
            near = np.flatnonzero((bits <= within) & informative[:j])
            near = near[np.lexsort((near, bits[near], ~represents[near]))][:_MOST_TRIED]
        others = [i for i in near.tolist() if (i, j) not in known]
        fitting = _first_fitting(hashes, j, others, most)
        represents[j] = not fitting
        found += [(i, j) for i in fitting[:_MOST_PAIRS]]
    return sorted(found)


def _first_fitting(hashes: Sequence[ImageHashes], j: int, others: Sequence[int], most: float) -> list[int]:
    """Return the images of the first batch in which any fits image `j`."""
    for start in range(0, len(others), _BATCH):
        part = others[start : start + _BATCH]
        first = np.stack([hashes[i].thumbnail for i in part])
        second = np.broadcast_to(hashes[j].thumbnail, first.shape)
        # Which of two images has more colours is not known exactly from thumbnails, so both directions are tried.
        fits = _recolors_to(first, second, most) | _recolors_to(second, first, most)
        if fits.any():
            return [i for i, fit in zip(part, fits.tolist(), strict=True) if fit]
    return []


def _recolors_to(source: Thumbnails, target: Thumbnails, most: float) -> NDArray[np.bool_]:
    """Return [N]: whether colour transforms of `source` equal `target` but for `most` levels in nine tenths of pixels.

    The transforms are those of `image_difference.recolored_difference`: an affine one, then a curve per channel.

    Args:
        source: [N, S, S, 3] thumbnails.
        target: [N, S, S, 3] thumbnails.
        most: levels of 255, averaged over the channels.
    """
    count = len(source)
    y = target.reshape(count, -1, 3).astype(np.float32) / 255
    x = np.ones((*y.shape[:2], 4), np.float32)
    x[..., :3] = source.reshape(count, -1, 3)
    x[..., :3] /= 255
    across = x.transpose(0, 2, 1)
    squares = (across @ x).astype(np.float64)
    squares += np.eye(4) * (_DAMPING * np.trace(squares, axis1=1, axis2=2))[:, None, None]
    fitted = x @ np.linalg.solve(squares, across @ y).astype(np.float32)
    steps = np.clip(fitted * _BINS, 0, _BINS - 1).astype(np.int64)
    steps += _BINS * np.arange(3) + 3 * _BINS * np.arange(count)[:, None, None]
    pixels = np.bincount(steps.ravel(), minlength=3 * _BINS * count)
    means = np.bincount(steps.ravel(), y.ravel(), 3 * _BINS * count) / np.maximum(pixels, 1)
    off = np.minimum(np.abs(means[steps] - y), np.abs(fitted - y)).mean(2)
    return np.asarray((255 * off <= most).mean(1) >= 0.9)
