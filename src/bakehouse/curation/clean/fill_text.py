"""Remove text from smooth backgrounds: membrane interpolation over the letters, plus the background's own grain.

Where the letters can be separated from the background, only they are filled, not the box around them. The quality is
measured: the same letter shapes are filled beside the text, where the true pixels are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from bakehouse.core.optional_imports import import_optional
from bakehouse.vision.text_detection import TextRegion

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

VISIBLE_ERROR = 8.0
"""Fill error in grey levels (0..255) from which a fill is visible; chosen by eye."""
_ERROR_QUANTILE = 0.95
"""Quantile of the filled pixels' errors that is compared with the limit."""
_BLUR = 1.5
"""Pixels of the blur before errors are measured: single-pixel grain is not visible."""
_ITERATIONS = 40
"""Averaging iterations on each level of the membrane."""
_SMALLEST = 8
"""Pixels of the shorter side at which the coarsest level stops."""
_MARGIN = 16
"""Pixels of background around a hole that determine its fill."""
_MAX_LETTER_SHARE = 0.6
"""If more than this share of a box seems to be letters, they cannot be separated and the whole box is filled."""


def text_mask(texts: Sequence[TextRegion], size: tuple[int, int]) -> Bytes:
    """Return the mask of text boxes with the halo of their letters: uint8 [height, width], 255 is text."""
    cv2 = import_optional("cv2", "painting over text")
    mask = np.zeros((size[1], size[0]), np.uint8)
    for text in texts:
        one = np.zeros_like(mask)
        cv2.fillPoly(one, [np.round(np.array(text.corners)).astype(np.int32)], 255)
        reach = max(3, round(text.height / 5))
        mask |= cv2.dilate(one, np.ones((2 * reach + 1,) * 2, np.uint8))
    return mask


def letter_mask(image: Image.Image, texts: Sequence[TextRegion]) -> Bytes:
    """Return the mask of the letters with their blurred edges; where they cannot be separated, that of `text_mask`.

    Args:
        image: RGB.
        texts: lines of text in it.
    """
    cv2 = import_optional("cv2", "painting over text")
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    mask = np.zeros((image.height, image.width), np.uint8)
    for text in texts:
        whole = text_mask([text], image.size)
        left, top, right, bottom = _bounding_box(whole)
        piece, hole = pixels[top:bottom, left:right], whole[top:bottom, left:right] > 0
        unlike = np.abs(piece - membrane(piece, hole)).max(axis=2).clip(0, 255).astype(np.uint8)
        limit, _ = cv2.threshold(unlike[hole][None], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        letters = (hole & (unlike > limit)).astype(np.uint8) * 255
        reach = max(2, round(text.height / 10))
        letters = cv2.dilate(letters, np.ones((2 * reach + 1,) * 2, np.uint8)) & whole[top:bottom, left:right]
        full = np.count_nonzero(letters) > _MAX_LETTER_SHARE * np.count_nonzero(hole)
        mask[top:bottom, left:right] |= whole[top:bottom, left:right] if full else letters
    return mask


def fill_background(image: Image.Image, mask: Bytes) -> Image.Image:
    """Return an RGB image with the masked pixels filled from their surroundings; other pixels are unchanged."""
    pixels = np.array(image.convert("RGB"))
    for left, top, right, bottom in _hole_boxes(mask):
        piece, hole = pixels[top:bottom, left:right].astype(np.float32), mask[top:bottom, left:right] > 0
        painted = membrane(piece, hole) + _grain(piece, hole)
        pixels[top:bottom, left:right][hole] = painted.round().clip(0, 255).astype(np.uint8)[hole]
    return Image.fromarray(pixels)


def fill_error(image: Image.Image, text: TextRegion, others: Sequence[TextRegion] = ()) -> float:
    """Estimate the error of `fill_background` at a line of text, in grey levels 0..255.

    The line's letter shapes are filled beside the line, where the true pixels are known. Infinite if there is no room.

    Args:
        image: RGB.
        text: the line.
        others: other lines, which do not count as background.
    """
    cv2 = import_optional("cv2", "measuring the background of text")
    mask, whole = letter_mask(image, [text]), text_mask([text], image.size)
    all_text = mask | letter_mask(image, [other for other in others if other != text and _are_neighbors(text, other)])
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    # Letters are shifted by a part of their height, to stay on the same background; a whole box by its own size.
    alone = np.count_nonzero(mask) < np.count_nonzero(whole)
    misses = []
    for across, down in _shifts(mask, max(3, round(text.height / 3)) if alone else None):
        moved = np.zeros_like(mask)
        ys, xs = np.nonzero(mask)
        moved[ys + down, xs + across] = 255
        left, top, right, bottom = _bounding_box(moved)
        piece, hole = pixels[top:bottom, left:right], moved[top:bottom, left:right] > 0
        unknown = all_text[top:bottom, left:right] > 0
        known = membrane(piece, unknown)
        visible = hole & ~unknown
        unlike = (membrane(known, hole) - known).mean(axis=2)
        smooth = np.abs(cv2.GaussianBlur(unlike, (0, 0), _BLUR))
        misses += [float(np.quantile(smooth[visible], _ERROR_QUANTILE))] if visible.any() else []
    return float(np.median(misses)) if misses else float("inf")


# --- the membrane -----------------------------------------------------------------------------------------------------


def membrane(pixels: Floats, hole: Bools) -> Floats:
    """Return pixels [h, w, 3] with the hole [h, w] filled by the solution of Laplace's equation.

    Solved from coarse to fine: each level starts from the coarser solution and averages neighbours.
    """
    result = pixels.copy()
    if not hole.any() or hole.all():
        return result
    height, width = hole.shape
    if min(height, width) >= 2 * _SMALLEST:
        half, open_ = _downsample(pixels, hole)
        coarse = membrane(half, open_)
        wide = np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)[:height, :width]
        result[hole] = wide[hole]
    else:
        result[hole] = pixels[~hole].mean(axis=0)
    for _ in range(_ITERATIONS):
        around = np.pad(result, ((1, 1), (1, 1), (0, 0)), mode="edge")
        mean = (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) / 4
        result[hole] = mean[hole]
    return result


def _downsample(pixels: Floats, hole: Bools) -> tuple[Floats, Bools]:
    """Return pixels and hole at half size: means of the known pixels of each 2 x 2 block, holes where none is."""
    pad = [(0, side % 2) for side in hole.shape]
    known = np.pad(~hole, pad).astype(np.float32)[..., None]
    values = np.pad(pixels, [*pad, (0, 0)]) * known
    height, width = known.shape[0] // 2, known.shape[1] // 2
    count = known.reshape(height, 2, width, 2, 1).sum(axis=(1, 3))
    total = values.reshape(height, 2, width, 2, -1).sum(axis=(1, 3))
    return (total / np.maximum(count, 1)).astype(np.float32), count[..., 0] == 0


def _grain(piece: Floats, hole: Bools) -> Floats:
    """Return grain for the hole, sampled from the background around it with a fixed seed."""
    cv2 = import_optional("cv2", "painting over text")
    known = ~(cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
    near = known & (cv2.dilate(hole.astype(np.uint8), np.ones((2 * _MARGIN + 1,) * 2, np.uint8)) > 0)
    grain = np.zeros_like(piece)
    if near.any():
        rest = (piece - cv2.GaussianBlur(piece, (0, 0), _BLUR))[near]
        size = np.abs(rest).max(axis=1)
        rest = rest[size <= 3 * np.median(size)]  # exclude lines and edges
        grain[hole] = rest[np.random.default_rng(0).integers(0, len(rest), int(hole.sum()))]
    return grain


# --- places -----------------------------------------------------------------------------------------------------------


def _bounding_box(mask: Bytes) -> Box:
    """Return the box of the masked pixels with the margin that determines their fill."""
    ys, xs = np.nonzero(mask)
    height, width = mask.shape
    left, right = max(0, int(xs.min()) - _MARGIN), min(width, int(xs.max()) + 1 + _MARGIN)
    top, bottom = max(0, int(ys.min()) - _MARGIN), min(height, int(ys.max()) + 1 + _MARGIN)
    return left, top, right, bottom


def _are_neighbors(a: TextRegion, b: TextRegion) -> bool:
    """Return whether line `b` lies on the background that is measured for line `a`."""
    reach = a.height + _MARGIN
    across = max(a.box[0], b.box[0]) - min(a.box[2], b.box[2])
    return max(across, max(a.box[1], b.box[1]) - min(a.box[3], b.box[3])) <= reach


def _hole_boxes(mask: Bytes) -> Iterator[Box]:
    """Yield a box for each group of masked pixels whose margins touch."""
    cv2 = import_optional("cv2", "painting over text")
    near = cv2.dilate(mask, np.ones((2 * _MARGIN + 1,) * 2, np.uint8))
    count, labels = cv2.connectedComponents(near)
    for label in range(1, count):
        yield _bounding_box(np.where(labels == label, mask, 0).astype(np.uint8))


def _shifts(mask: Bytes, by: int | None) -> Iterator[tuple[int, int]]:
    """Yield shifts (x, y) that keep the mask inside the image: up, down, left and right, by `by` pixels or its size."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return
    height, width = mask.shape
    tall, wide = int(ys.max() - ys.min()) + 1, int(xs.max() - xs.min()) + 1
    for across, down in ((0, -(by or tall)), (0, by or tall), (-(by or wide), 0), (by or wide, 0)):
        inside = ys.min() + down >= 0 and ys.max() + down < height and xs.min() + across >= 0
        if inside and xs.max() + across < width:
            yield across, down
