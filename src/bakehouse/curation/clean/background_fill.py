"""Painting over letters on ground that goes on evenly: a membrane over the hole, and the ground's own grain on it.

Only the letters are painted where they can be told from their ground, not the box around them. How well it goes is
measured, not guessed: letters of the same shape are painted away beside the text, where it is known what was there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from bakehouse.core.optional_imports import import_optional
from bakehouse.vision.text_detection import Text

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

VISIBLE = 8.0
"""Grey values (0..255) by which what is painted may differ from what was there; looked at, not derived."""
_WORST = 0.95
"""Of painted pixels: a few may differ more."""
_BLUR = 1.5
"""Pixels: differences from pixel to pixel are grain, which nobody sees."""
_ROUNDS = 40
"""Of averaging on each level of the membrane."""
_SMALLEST = 8
"""Pixels: a level whose shorter side is shorter has no coarser one."""
_MARGIN = 16
"""Pixels of ground around a hole that decide what is painted into it."""
_FULL = 0.6
"""Letters that fill more of their box are not told from their ground: the whole box is painted."""


def text_mask(texts: Sequence[Text], size: tuple[int, int]) -> Bytes:
    """Where the text is, with the halo of its letters: uint8 [height, width], 255 is text."""
    cv2 = import_optional("cv2", "painting over text")
    mask = np.zeros((size[1], size[0]), np.uint8)
    for text in texts:
        one = np.zeros_like(mask)
        cv2.fillPoly(one, [np.round(np.array(text.corners)).astype(np.int32)], 255)
        reach = max(3, round(text.height / 5))
        mask |= cv2.dilate(one, np.ones((2 * reach + 1,) * 2, np.uint8))
    return mask


def letter_mask(image: Image.Image, texts: Sequence[Text]) -> Bytes:
    """The letters themselves with their blurred edges, or all of `text_mask` where they cannot be told from the ground.

    Args:
        image: RGB.
        texts: lines in it.
    """
    cv2 = import_optional("cv2", "painting over text")
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    mask = np.zeros((image.height, image.width), np.uint8)
    for text in texts:
        whole = text_mask([text], image.size)
        left, top, right, bottom = _around(whole)
        piece, hole = pixels[top:bottom, left:right], whole[top:bottom, left:right] > 0
        unlike = np.abs(piece - membrane(piece, hole)).max(axis=2).clip(0, 255).astype(np.uint8)
        limit, _ = cv2.threshold(unlike[hole][None], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        letters = (hole & (unlike > limit)).astype(np.uint8) * 255
        reach = max(2, round(text.height / 10))
        letters = cv2.dilate(letters, np.ones((2 * reach + 1,) * 2, np.uint8)) & whole[top:bottom, left:right]
        full = np.count_nonzero(letters) > _FULL * np.count_nonzero(hole)
        mask[top:bottom, left:right] |= whole[top:bottom, left:right] if full else letters
    return mask


def paint(image: Image.Image, mask: Bytes) -> Image.Image:
    """An RGB image with the masked pixels painted from their surroundings; all others are as they were."""
    pixels = np.array(image.convert("RGB"))
    for left, top, right, bottom in _holes(mask):
        piece, hole = pixels[top:bottom, left:right].astype(np.float32), mask[top:bottom, left:right] > 0
        painted = membrane(piece, hole) + _grain(piece, hole)
        pixels[top:bottom, left:right][hole] = painted.round().clip(0, 255).astype(np.uint8)[hole]
    return Image.fromarray(pixels)


def visibility(image: Image.Image, text: Text, others: Sequence[Text] = ()) -> float:
    """By how much `paint` would miss at a line of text: grey values, 0..255.

    Letters of the same shape are painted away beside the line's own, where it is known what was there. Infinite where
    there is no room beside it.

    Args:
        image: RGB.
        text: the line.
        others: lines near it, which are no ground either.
    """
    cv2 = import_optional("cv2", "looking at the ground of text")
    mask, whole = letter_mask(image, [text]), text_mask([text], image.size)
    taken = mask | letter_mask(image, [other for other in others if other != text and _near(text, other)])
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    # Letters are moved by a part of their height, so that they stay on their ground; a box has to leave its place.
    alone = np.count_nonzero(mask) < np.count_nonzero(whole)
    misses = []
    for across, down in _beside(mask, max(3, round(text.height / 3)) if alone else None):
        moved = np.zeros_like(mask)
        ys, xs = np.nonzero(mask)
        moved[ys + down, xs + across] = 255
        left, top, right, bottom = _around(moved)
        piece, hole = pixels[top:bottom, left:right], moved[top:bottom, left:right] > 0
        unknown = taken[top:bottom, left:right] > 0
        known = membrane(piece, unknown)
        seen = hole & ~unknown
        unlike = (membrane(known, hole) - known).mean(axis=2)
        smooth = np.abs(cv2.GaussianBlur(unlike, (0, 0), _BLUR))
        misses += [float(np.quantile(smooth[seen], _WORST))] if seen.any() else []
    return float(np.median(misses)) if misses else float("inf")


# --- the membrane -----------------------------------------------------------------------------------------------------


def membrane(pixels: Floats, hole: Bools) -> Floats:
    """Pixels [h, w, 3] with the smoothest surface over the hole [h, w] that meets its edge (Laplace's equation).

    Solved from coarse to fine: each level begins with the coarser one's solution and averages neighbours.
    """
    result = pixels.copy()
    if not hole.any() or hole.all():
        return result
    height, width = hole.shape
    if min(height, width) >= 2 * _SMALLEST:
        half, open_ = _halved(pixels, hole)
        coarse = membrane(half, open_)
        wide = np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)[:height, :width]
        result[hole] = wide[hole]
    else:
        result[hole] = pixels[~hole].mean(axis=0)
    for _ in range(_ROUNDS):
        around = np.pad(result, ((1, 1), (1, 1), (0, 0)), mode="edge")
        mean = (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) / 4
        result[hole] = mean[hole]
    return result


def _halved(pixels: Floats, hole: Bools) -> tuple[Floats, Bools]:
    """Half the size; a pixel is the mean of the known ones among its four, and open where none is known."""
    pad = [(0, side % 2) for side in hole.shape]
    known = np.pad(~hole, pad).astype(np.float32)[..., None]
    values = np.pad(pixels, [*pad, (0, 0)]) * known
    height, width = known.shape[0] // 2, known.shape[1] // 2
    count = known.reshape(height, 2, width, 2, 1).sum(axis=(1, 3))
    total = values.reshape(height, 2, width, 2, -1).sum(axis=(1, 3))
    return (total / np.maximum(count, 1)).astype(np.float32), count[..., 0] == 0


def _grain(piece: Floats, hole: Bools) -> Floats:
    """What the ground has beside its smooth surface, drawn at random from around the hole; the same each time."""
    cv2 = import_optional("cv2", "painting over text")
    known = ~(cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
    near = known & (cv2.dilate(hole.astype(np.uint8), np.ones((2 * _MARGIN + 1,) * 2, np.uint8)) > 0)
    grain = np.zeros_like(piece)
    if near.any():
        rest = (piece - cv2.GaussianBlur(piece, (0, 0), _BLUR))[near]
        size = np.abs(rest).max(axis=1)
        rest = rest[size <= 3 * np.median(size)]  # lines and edges are no grain
        grain[hole] = rest[np.random.default_rng(0).integers(0, len(rest), int(hole.sum()))]
    return grain


# --- places -----------------------------------------------------------------------------------------------------------


def _around(mask: Bytes) -> Box:
    """The masked part with the ground that decides what is painted there."""
    ys, xs = np.nonzero(mask)
    height, width = mask.shape
    left, right = max(0, int(xs.min()) - _MARGIN), min(width, int(xs.max()) + 1 + _MARGIN)
    top, bottom = max(0, int(ys.min()) - _MARGIN), min(height, int(ys.max()) + 1 + _MARGIN)
    return left, top, right, bottom


def _near(a: Text, b: Text) -> bool:
    """Whether a line stands on the ground that is looked at for another."""
    reach = a.height + _MARGIN
    across = max(a.box[0], b.box[0]) - min(a.box[2], b.box[2])
    return max(across, max(a.box[1], b.box[1]) - min(a.box[3], b.box[3])) <= reach


def _holes(mask: Bytes) -> Iterator[Box]:
    """The places of a mask that are so near to each other that they are painted at once."""
    cv2 = import_optional("cv2", "painting over text")
    near = cv2.dilate(mask, np.ones((2 * _MARGIN + 1,) * 2, np.uint8))
    count, labels = cv2.connectedComponents(near)
    for label in range(1, count):
        yield _around(np.where(labels == label, mask, 0).astype(np.uint8))


def _beside(mask: Bytes, by: int | None) -> Iterator[tuple[int, int]]:
    """Ways to move a mask in its image: across and down, by so many pixels or by its own size."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return
    height, width = mask.shape
    tall, wide = int(ys.max() - ys.min()) + 1, int(xs.max() - xs.min()) + 1
    for across, down in ((0, -(by or tall)), (0, by or tall), (-(by or wide), 0), (by or wide, 0)):
        inside = ys.min() + down >= 0 and ys.max() + down < height and xs.min() + across >= 0
        if inside and xs.max() + across < width:
            yield across, down
