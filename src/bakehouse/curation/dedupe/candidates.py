"""Find candidate pairs of duplicates and crops from the hashes alone, without opening files.

Hashes describe what is light and dark. Drawings of the same composition have similar hashes: a thousand figures on a
plain background give a hundred thousand pairs, so with hashes alone the work would grow quadratically. Mean colours of
4 x 4 cells reject most of them: those of two copies cannot differ more than the images do. The same image in other
colours is found among the rest by `recolor_prefilter`.

The images' hashes are compared all with all, at about a nanosecond each. A lossless index for 10 of 64 bits would need
11 bands of 6 bits, and a sixth of all images share a band, so it would cost more than it saves. The windows, 168 times
as many, are looked up in an index by their colours (`color_index`). Comparisons are done in blocks to limit memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bakehouse.core.thread_pool import thread_pool
from bakehouse.curation.dedupe.color_index import ColorIndex
from bakehouse.curation.dedupe.crop_prefilter import best_fit_error
from bakehouse.curation.dedupe.image_hashes import WINDOWS, ImageHashes

Numbers = NDArray[np.int64]
Levels = NDArray[np.float64]
Pair = tuple[int, int]
CropCandidate = tuple[int, int, list[int]]
"""An image, another one that may be a crop of it, and the windows of the first one to search, by number."""

_BLOCK = 1024
"""Hashes per side of one block of comparisons."""
_CHUNK = 65536
"""Pairs whose colours are compared at a time."""
_MAX_WHOLES = 4
"""Most images that are searched for one crop."""
_SEARCHED_TOGETHER = 48
"""Images whose windows are looked up at a time: with more windows, less time is lost on each leaf of the index."""
_MAX_FIT_ERROR = 8.0
"""Largest mean difference (0..255) between a thumbnail and its place in another one. Measured: at most 5 for crops,
even re-compressed ones; 10 and more for drawings of the same composition."""


_STRIP_FACTOR = 2.0
"""A tile covers up to two pixels of a thumbnail, in images up to twice as long as wide. So if nine tenths of the tiles
differ by at most some amount, nine tenths of the pixels differ by at most twice that."""


def similar_pairs(hashes: Sequence[ImageHashes], within: int, colors: float, usual: float) -> list[Pair]:
    """Return the sorted pairs (i, j), i < j, of images with similar hashes and colours.

    Similar: pHashes or dHashes differ in at most `within` of 64 bits, mean colours of 4 x 4 cells by at most `colors`
    (0..255) on average, and nine tenths of the thumbnails' pixels by at most `usual`. If both hashes differ in at most
    half as many bits, one tenth of the image may differ in any way, and `usual` is doubled.
    """
    if not hashes:
        return []
    phash, dhash = np.array([one.phash for one in hashes]), np.array([one.dhash for one in hashes])
    informative = np.array([not one.uninformative[0] for one in hashes])
    means = np.array([one.colors[0] for one in hashes], np.int16)
    thumbnails = np.stack([one.thumbnail for one in hashes])
    colors_strict = 0.9 * usual + 0.1 * 255
    found = [np.zeros((0, 2), np.int64)]
    for top, left in itertools.product(range(0, len(hashes), _BLOCK), repeat=2):
        if left + _BLOCK <= top:
            continue
        rows, columns = slice(top, top + _BLOCK), slice(left, left + _BLOCK)
        by_phash = np.bitwise_count(phash[rows, None] ^ phash[columns])
        by_dhash = np.bitwise_count(dhash[rows, None] ^ dhash[columns])
        by_dhash[~(informative[rows, None] & informative[columns])] = 64
        i, j = np.nonzero(np.minimum(by_phash, by_dhash) <= within)
        i, j = i[i + top < j + left], j[i + top < j + left]
        strict = np.maximum(by_phash[i, j], by_dhash[i, j]) <= within // 2
        i, j = i + top, j + left
        near = _colors_near(means, i, j, np.where(strict, max(colors, colors_strict), colors))
        pairs, strict = np.stack([i[near], j[near]], 1), strict[near]
        most = usual * np.where(strict, _STRIP_FACTOR, 1.0)
        found.append(pairs[_thumbnails_near(thumbnails, pairs, most)])
    pairs = np.concatenate(found)
    return [(i, j) for i, j in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist()]


def _colors_near(means: NDArray[np.int16], i: Numbers, j: Numbers, most: Levels) -> NDArray[np.bool_]:
    """Return for each pair whether its mean colours differ by at most `most` levels, averaged over the channels."""
    near = np.zeros(len(i), bool)
    for start in range(0, len(i), _CHUNK):
        part = slice(start, start + _CHUNK)
        near[part] = np.abs(means[i[part]] - means[j[part]]).mean(1) <= most[part]
    return near


def _thumbnails_near(thumbnails: NDArray[np.uint8], pairs: Numbers, most: Levels) -> NDArray[np.bool_]:
    """Return for each pair whether nine tenths of its thumbnails' pixels differ by at most `most` levels."""
    near = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), _BLOCK):
        part = slice(start, start + _BLOCK)
        first, second = thumbnails[pairs[part, 0]], thumbnails[pairs[part, 1]]
        # Absolute difference of uint8 without a wider type.
        red, green, blue = np.moveaxis(np.maximum(first, second) - np.minimum(first, second), 3, 0)
        off = red.astype(np.uint16) + green + blue
        near[part] = (off <= 3 * most[part, None, None]).mean((1, 2)) >= 0.9
    return near


def crop_candidates(hashes: Sequence[ImageHashes], within: int, color: float) -> list[CropCandidate]:
    """Return sorted (i, j, windows): image j may be a crop of image i at one of these windows, the likeliest first.

    For each j, the few i with the most similar colours are kept, and of those the ones whose thumbnails fit.

    Args:
        hashes: of all images.
        within: most bits of 64 in which the hashes may differ.
        color: largest average difference (0..255) of the mean colours of 4 x 4 cells.
    """
    informative = np.array([i for i, one in enumerate(hashes) if not one.uninformative[0]], np.int64)
    dhashes = np.array([hashes[i].dhash for i in informative.tolist()], np.uint64)
    means = np.array([hashes[i].colors[0] for i in informative.tolist()], np.int16).reshape(-1, 48)
    index = ColorIndex(dhashes, means, within, color)

    def candidates(start: int) -> list[tuple[float, CropCandidate]]:
        some = range(start, min(start + _SEARCHED_TOGETHER, len(hashes)))
        windows = [np.flatnonzero(~hashes[i].uninformative[1:]) for i in some]
        image, window = np.repeat(np.array(some), [len(w) for w in windows]), np.concatenate(windows)
        w, j, off = index.search(
            np.concatenate([hashes[i].windows[w] for i, w in zip(some, windows, strict=True)]),
            np.concatenate([hashes[i].colors[1:][w] for i, w in zip(some, windows, strict=True)]),
        )
        whole, part, w = image[w], informative[j], window[w]
        order = np.argsort(whole, kind="stable")
        order = order[(whole != part)[order]]
        likely: list[tuple[float, CropCandidate]] = []
        for i in some:
            mine = order[slice(*np.searchsorted(whole[order], (i, i + 1)))]
            likely += _best_windows(i, part[mine], w[mine], off[mine])
        return likely

    likeliest: dict[int, list[tuple[float, CropCandidate]]] = {}
    with thread_pool() as pool:
        for found in pool.map(candidates, range(0, len(hashes), _SEARCHED_TOGETHER)):
            for off, candidate in found:
                best = likeliest.setdefault(candidate[1], [])
                best.append((off, candidate))
                best.sort(key=lambda one: one[:1] + one[1][:1])
                del best[_MAX_WHOLES:]
    near = sorted((candidate for best in likeliest.values() for _, candidate in best), key=lambda one: one[:2])
    return list(itertools.compress(near, _windows_fit(hashes, near)))


def _windows_fit(hashes: Sequence[ImageHashes], near: Sequence[CropCandidate]) -> list[bool]:
    """Return for each candidate whether its likeliest window, after small adjustments, fits."""
    fits: list[bool] = []
    for start in range(0, len(near), _BLOCK):
        part = near[start : start + _BLOCK]
        wholes = np.stack([hashes[i].thumbnail for i, _, _ in part])
        parts = np.stack([hashes[j].thumbnail for _, j, _ in part])
        boxes = np.array([WINDOWS[windows[0]] for _, _, windows in part])
        fits += (best_fit_error(wholes, parts, boxes) <= _MAX_FIT_ERROR).tolist()
    return fits


def _best_windows(i: int, j: Numbers, w: Numbers, off: NDArray[np.float64]) -> Iterator[tuple[float, CropCandidate]]:
    """Yield for each image j the likeliest window's error and a candidate with the three likeliest windows."""
    order = np.lexsort((w, off))
    for other in np.unique(j).tolist():
        mine = order[j[order] == other]
        yield float(off[mine[0]]), (i, other, w[mine][:3].tolist())
