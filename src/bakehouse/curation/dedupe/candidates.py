"""Which pictures are worth being looked at side by side: found by their looks alone, without opening a file.

Hashes say what is light and what is dark. Drawings of one composition have hashes that are near, a hundred thousand
pairs in a thousand figures before a plain ground, so hashes alone let the work grow as the square. Colours part them:
the mean colours of copies, in 4 x 4 cells, cannot be farther apart than the pictures are.

The pictures' hashes are compared all with all, at a nanosecond each. An index by bands of bits that loses nothing
within 10 of 64 bits needs 11 bands of 6 bits, and a sixth of all pictures share one of them: looking them up costs more
than it saves. Windows are 168 times as many: an index by their colours leaves a few of them (`index`). Memory holds one
block of comparisons at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bakehouse.core.cpu_threads import thread_pool
from bakehouse.curation.dedupe.color_index import ColourIndex
from bakehouse.curation.dedupe.crop_prefilter import nearest_fit
from bakehouse.curation.dedupe.image_hashes import WINDOWS, Look

Numbers = NDArray[np.int64]
Pair = tuple[int, int]
Candidate = tuple[int, int, list[int]]
"""A picture, another one that may be a crop of it, and the windows to look for it in."""

_BLOCK = 1024
"""So many hashes are set against so many others at a time."""
_CHUNK = 65536
"""Of so many pairs the colours are compared at a time."""
_WHOLES = 4
"""Of a picture that may be a crop of many, so many of the likeliest are looked at."""
_FIT = 8.0
"""Of 255: a thumbnail that was laid over its place in another one's is not farther off than this. Crops are at most 5
off, saved again or not, and drawings of one composition 10 and more."""


def alike(looks: Sequence[Look], within: int, colours: float, usual: float) -> list[Pair]:
    """Pairs (i, j), i < j, whose hashes and colours are near, in order.

    Near is: pHashes or dHashes differ in at most `within` of 64 bits, the mean colours of 4 x 4 cells by at most
    `colours` of 255 on average, and nine tenths of the thumbnails' pixels by at most `usual`. A copy in other colours
    (grey, darker) is near by its hashes alone: both differ in at most half as many bits.
    """
    if not looks:
        return []
    phash, dhash = np.array([one.phash for one in looks]), np.array([one.dhash for one in looks])
    said = np.array([not one.plain[0] for one in looks])
    means = np.array([one.colours[0] for one in looks], np.int16)
    found, sure = [np.zeros((0, 2), np.int64)], [np.zeros(0, bool)]
    for top, left in itertools.product(range(0, len(looks), _BLOCK), repeat=2):
        if left + _BLOCK <= top:
            continue
        rows, columns = slice(top, top + _BLOCK), slice(left, left + _BLOCK)
        by_waves = np.bitwise_count(phash[rows, None] ^ phash[columns])
        by_steps = np.bitwise_count(dhash[rows, None] ^ dhash[columns])
        by_steps[~(said[rows, None] & said[columns])] = 64
        i, j = np.nonzero(np.minimum(by_waves, by_steps) <= within)
        i, j = i[i + top < j + left], j[i + top < j + left]
        strict = np.maximum(by_waves[i, j], by_steps[i, j]) <= within // 2
        i, j = i + top, j + left
        near = strict | _colours_near(means, i, j, colours)
        found.append(np.stack([i[near], j[near]], 1))
        sure.append(strict[near])
    pairs = np.concatenate(found)
    pairs = pairs[_thumbs_near(looks, pairs, usual) | np.concatenate(sure)]
    return [(i, j) for i, j in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist()]


def _colours_near(means: NDArray[np.int16], i: Numbers, j: Numbers, most: float) -> NDArray[np.bool_]:
    near = np.zeros(len(i), bool)
    for start in range(0, len(i), _CHUNK):
        part = slice(start, start + _CHUNK)
        near[part] = np.abs(means[i[part]] - means[j[part]]).mean(1) <= most
    return near


def _thumbs_near(looks: Sequence[Look], pairs: Numbers, most: float) -> NDArray[np.bool_]:
    near = np.zeros(len(pairs), bool)
    thumbs = np.stack([one.thumb for one in looks])
    for start in range(0, len(pairs), _BLOCK):
        part = slice(start, start + _BLOCK)
        first, second = thumbs[pairs[part, 0]], thumbs[pairs[part, 1]]
        # The difference of bytes without a wider type: one of the two is 0 at each place.
        red, green, blue = np.moveaxis(np.maximum(first, second) - np.minimum(first, second), 3, 0)
        off = red.astype(np.uint16) + green + blue
        near[part] = (off <= 3 * most).mean((1, 2)) >= 0.9
    return near


def crops(looks: Sequence[Look], within: int, colour: float) -> list[Candidate]:
    """(i, j, windows): picture j may be one of these windows of picture i, the likeliest first; in order.

    Of each j, the few i are kept whose colours are nearest, and of those the ones whose thumbnails fit.

    Args:
        looks: of all pictures.
        within: bits of 64 in which the hashes may differ.
        colour: how far apart the mean colours of 4 x 4 cells may be on average, of 255.
    """
    said = np.array([i for i, one in enumerate(looks) if not one.plain[0]], np.int64)
    hashes = np.array([looks[i].dhash for i in said.tolist()], np.uint64)
    means = np.array([looks[i].colours[0] for i in said.tolist()], np.int16).reshape(-1, 48)
    index = ColourIndex(hashes, means, within, colour)

    def candidates(i: int) -> list[tuple[float, Candidate]]:
        colours, windows = looks[i].colours[1:], np.flatnonzero(~looks[i].plain[1:])
        w, j, off = index.near(looks[i].windows[windows], colours[windows])
        other = said[j] != i
        w, j, off = windows[w[other]], said[j[other]], off[other]
        return list(_by_picture(i, j, w, off))

    likeliest: dict[int, list[tuple[float, Candidate]]] = {}
    with thread_pool() as pool:
        for found in pool.map(candidates, range(len(looks))):
            for off, candidate in found:
                best = likeliest.setdefault(candidate[1], [])
                best.append((off, candidate))
                best.sort(key=lambda one: one[:1] + one[1][:1])
                del best[_WHOLES:]
    near = sorted((candidate for best in likeliest.values() for _, candidate in best), key=lambda one: one[:2])
    return list(itertools.compress(near, _fit(looks, near)))


def _fit(looks: Sequence[Look], near: Sequence[Candidate]) -> list[bool]:
    """Whether the likeliest window of each candidate, moved about a little, shows the same."""
    fits: list[bool] = []
    for start in range(0, len(near), _BLOCK):
        part = near[start : start + _BLOCK]
        wholes, parts = np.stack([looks[i].thumb for i, _, _ in part]), np.stack([looks[j].thumb for _, j, _ in part])
        boxes = np.array([WINDOWS[windows[0]] for _, _, windows in part])
        fits += (nearest_fit(wholes, parts, boxes) <= _FIT).tolist()
    return fits


def _by_picture(i: int, j: Numbers, w: Numbers, off: NDArray[np.float64]) -> Iterator[tuple[float, Candidate]]:
    """For each picture j: how far the likeliest window is off, and the three likeliest."""
    order = np.lexsort((w, off))
    for other in np.unique(j).tolist():
        mine = order[j[order] == other]
        yield float(off[mine[0]]), (i, other, w[mine][:3].tolist())
