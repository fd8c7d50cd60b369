"""A look: what is kept of a picture to find others like it, small enough for all of them to be compared at once.

Three things, all from one thumbnail: a pHash (the signs of an 8 x 8 DCT), a dHash (whether each of 8 x 8 cells is
brighter than the one left of it), and the dHashes of many windows of the picture. A crop has the dHash of the window
that it was cut from, whatever its shape, since all are squashed to one square.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bakehouse.core.threads import threads
from bakehouse.data.images import flattened, reading, upright_srgb

Words = NDArray[np.uint64]
Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
Pair = tuple[int, int]
Candidate = tuple[int, int, list[int]]
"""A picture, another one that may be a crop of it, and the windows to look for it in."""

SIDE = 96
"""Of the thumbnail; a JPEG is decoded at twice that."""
FLAT = 0.5
"""Two cells nearer than this (of 255) are equal: a flat ground must not give the bits of its noise."""
PLAIN = 16
"""A hash with fewer cells than this that differ from their neighbours says nothing of what is seen."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_BLOCK = 1024
"""So many hashes are set against so many others at a time."""


@dataclass(frozen=True)
class Look:
    """One picture's hashes, each of 64 bits."""

    phash: np.uint64
    dhash: np.uint64
    windows: Words
    """[W] the dHash of each of `WINDOWS`."""
    plain: NDArray[np.bool_]
    """[1 + W] whether the dHash says nothing; the first is the whole picture's."""
    colours: NDArray[np.uint8]
    """[1 + W, 48] mean colours of 4 x 4 cells, the whole picture's first."""


# --- windows ----------------------------------------------------------------------------------------------------------


def _intervals() -> list[tuple[float, float]]:
    """Along one side: the whole, and shares of it in steps; from 90 % to 60 %, since less is another picture."""
    found = [(0.0, 1.0)]
    for share, places in ((0.9, 3), (0.75, 4), (0.6, 5)):
        found += [(float(start), float(start) + share) for start in np.linspace(0, 1 - share, places)]
    return found


_SPANS = _intervals()
WINDOWS = [(left, top, right, bottom) for (top, bottom), (left, right) in itertools.product(_SPANS, _SPANS)][1:]
"""Left, top, right, bottom of each window as shares of the picture's sides."""


def _cells(spans: Sequence[tuple[float, float]], count: int) -> Floats:
    """[len(spans) * count, SIDE]: rows of weights that average a thumbnail's lines into `count` cells of each span."""
    edges = np.stack([np.linspace(low, high, count + 1) for low, high in spans]) * SIDE
    starts, ends = edges[:, :-1].reshape(-1, 1), edges[:, 1:].reshape(-1, 1)
    lines = np.arange(SIDE)
    overlap = np.clip(np.minimum(ends, lines + 1) - np.maximum(starts, lines), 0, None)
    return np.asarray(overlap / overlap.sum(1, keepdims=True), np.float32)


def _dct() -> Floats:
    """[8, SIDE]: the eight lowest rows of the DCT-II of 32 points, each the mean of three lines of the thumbnail."""
    k, n = np.arange(8)[:, None], np.arange(32)[None]
    rows = np.cos(np.pi * (2 * n + 1) * k / 64) @ _cells([(0.0, 1.0)], 32)
    return np.asarray(rows, np.float32)


_ROWS, _COLUMNS, _QUARTERS, _WAVES = _cells(_SPANS, 8), _cells(_SPANS, 9), _cells(_SPANS, 4), _dct()


# --- looking ----------------------------------------------------------------------------------------------------------


def look_at(path: Path) -> Look:
    """Decodes a file, a JPEG no finer than needed, and takes its look.

    Raises:
        ImageError: as `data.open_image`.
    """
    return look(open_small(path, 2 * SIDE))


def open_small(path: Path, side: int) -> Image.Image:
    """As `data.open_image`, but a JPEG may come smaller, with no side under `side` pixels: several times faster.

    Raises:
        ImageError: as `data.open_image`.
    """
    with reading(path) as file:
        file.draft(None, (side, side))
        return flattened(upright_srgb(file))


def look(image: Image.Image) -> Look:
    """The look of an RGB image of any size."""
    small = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    thumb = np.asarray(small, np.float32)
    grey = thumb @ _LUMA
    waves = (_WAVES @ grey @ _WAVES.T).ravel()
    hashes, plain = _dhashes(grey)
    return Look(_packed(waves > np.median(waves))[0], hashes[0], hashes[1:], plain, _colours(thumb))


def _dhashes(grey: Floats) -> tuple[Words, NDArray[np.bool_]]:
    """Of the picture and each window: the hash, and whether it is plain."""
    n = len(_SPANS)
    cells = (_ROWS @ grey @ _COLUMNS.T).reshape(n, 8, n, 9)
    steps = np.diff(cells, axis=3).transpose(0, 2, 1, 3).reshape(n * n, 64)
    return _packed(steps > FLAT), (np.abs(steps) > FLAT).sum(1) < PLAIN


def _colours(thumb: Floats) -> NDArray[np.uint8]:
    n = len(_SPANS)
    rows = np.tensordot(_QUARTERS, thumb, (1, 0))  # [4n, SIDE, 3]
    cells = np.tensordot(rows, _QUARTERS, (1, 1))  # [4n, 3, 4n]
    windows = cells.reshape(n, 4, 3, n, 4).transpose(0, 3, 1, 4, 2).reshape(n * n, 48)
    return np.asarray(np.clip(windows + 0.5, 0, 255), np.uint8)


def _packed(bits: NDArray[np.bool_]) -> Words:
    return np.packbits(bits, axis=-1).reshape(-1, 8).view(np.uint64)[:, 0]


# --- comparing all with all -------------------------------------------------------------------------------------------


def alike(looks: Sequence[Look], within: int) -> list[Pair]:
    """Pairs (i, j), i < j, whose pHashes or dHashes differ in at most `within` of 64 bits; in order."""
    phash = np.array([one.phash for one in looks], np.uint64)
    said, dhash = _said(looks)
    i, j = _near(phash, phash, within)
    k, m = _near(dhash, dhash, within)
    i, j = np.concatenate([i, said[k]]), np.concatenate([j, said[m]])
    found = np.unique(np.stack([i, j], 1)[i < j], axis=0)
    return [(i, j) for i, j in found.tolist()]


def crops(looks: Sequence[Look], within: int, colour: float) -> Iterator[Candidate]:
    """(i, j, windows): picture j may be one of these windows of picture i, the likeliest first.

    Args:
        looks: of all pictures.
        within: bits of 64 in which the hashes may differ.
        colour: how far apart the mean colours of 4 x 4 cells may be on average, of 255.
    """
    said, whole = _said(looks)
    colours = np.array([one.colours[0] for one in looks], np.int16).reshape(len(looks), 48)

    def candidates(i: int) -> list[Candidate]:
        one = looks[i]
        windows = np.flatnonzero(~one.plain[1:])
        w, j = _near(one.windows[windows], whole, within)
        w, j = windows[w], said[j]
        off = np.abs(one.colours[1 + w] - colours[j]).mean(1)
        fits = (off <= colour) & (j != i)
        return list(_by_picture(i, j[fits], w[fits], off[fits]))

    with threads() as pool:
        for found in pool.map(candidates, range(len(looks))):
            yield from found


def _by_picture(i: int, j: Numbers, w: Numbers, off: Floats) -> Iterator[Candidate]:
    order = np.argsort(off, kind="stable")
    for other in np.unique(j).tolist():
        mine = order[j[order] == other]
        yield i, other, w[mine][:3].tolist()


def _said(looks: Sequence[Look]) -> tuple[Numbers, Words]:
    """Numbers of the pictures whose dHash says something, and those hashes."""
    said = np.flatnonzero([not one.plain[0] for one in looks])
    return said, np.array([looks[i].dhash for i in said.tolist()], np.uint64)


def _near(a: Words, b: Words, within: int) -> tuple[Numbers, Numbers]:
    """Which of `a` differ from which of `b` in at most `within` bits: (numbers in `a`, numbers in `b`)."""
    found = [np.zeros((2, 0), np.int64)]
    for i, j in itertools.product(range(0, len(a), _BLOCK), range(0, len(b), _BLOCK)):
        # Few bits are near, and in one dimension numpy passes over the others quickly.
        rows, columns = a[i : i + _BLOCK, None], b[j : j + _BLOCK]
        near = np.flatnonzero((np.bitwise_count(rows ^ columns) <= within).ravel())
        found.append(np.stack([near // len(columns) + i, near % len(columns) + j]))
    places = np.concatenate(found, 1)
    return places[0], places[1]
