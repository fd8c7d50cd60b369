"""`dataset trim`: crop uniform borders (letterboxes, frames, empty space around a figure)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from bakehouse.core.events import Event, Progress
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal
from bakehouse.curation.open_records import open_or_skip, open_record
from bakehouse.curation.output_images import OutputNames, replace_image, replace_mask
from bakehouse.curation.skip_animated import still_images
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image

Borders = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""
Pixels = NDArray[np.int16]

MAX_STRAY_SHARE = 0.002
"""Share of a border line's pixels that may differ, for JPEG noise; the tip of a hair is more."""
FLAT_TOLERANCE = 1
"""Levels of 255 within which a pixel counts as flat, whatever the fuzz: a dark room is even, but not that flat."""
MIN_FLAT_SHARE = 0.9
"""Least share of flat pixels in a border."""
_BLOCK = 8
_EDGES = ("left", "top", "right", "bottom")


class Trim(Spec):
    """Settings of `dataset trim`. Each edge is trimmed by itself; a mask is trimmed with its image."""

    fuzz: float = Field(0.04, ge=0, le=0.5)
    """Largest distance of a border pixel from the border's colour; 1 is black to white."""
    most: float = Field(0.45, gt=0, lt=0.5)
    """Largest share of the width or height to remove at one edge."""
    shortest: int = Field(256, ge=1)
    """Shortest side to leave, in pixels."""
    least: int = Field(2, ge=1)
    """Borders thinner than this many pixels stay: removing them is not worth rewriting the image."""
    margin: int = Field(0, ge=0)
    """Pixels of the border to keep."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Propose to trim each image with a border."""
        names, still = OutputNames(images), (yield from still_images(images))
        for done, record in enumerate(still, 1):
            image = yield from open_or_skip(record, images)
            if image is not None and any(borders := self.borders(image)):
                make = functools.partial(self._edits, record, images, names.claim(record), borders)
                yield Proposal(images.name(record.path), _why(record, borders), make)
            yield Progress(what="measuring borders", done=done, total=len(still))

    def borders(self, image: Image.Image) -> Borders:
        """Return how many pixels to remove at each edge of an RGB or RGBA image; zeros without a border."""
        pixels = _visible_pixels(image)
        left, top, right, bottom = found = measure_borders(pixels, self.fuzz)
        if not any(found):
            return found
        left, right = self._limited(left, right, image.width)
        top, bottom = self._limited(top, bottom, image.height)
        return left, top, right, bottom

    def _limited(self, low: int, high: int, side: int) -> tuple[int, int]:
        """Return two opposite borders, limited by the settings."""
        low, high = (min(b - self.margin, int(side * self.most)) for b in (low, high))
        low, high = (b if b >= self.least else 0 for b in (low, high))
        missing = min(self.shortest, side) - (side - low - high)
        if missing > 0:
            # Give back in proportion to the borders, so that the content keeps its place in the frame.
            back = min(low, round(missing * low / (low + high)))
            low, high = low - back, high - (missing - back)
        return low, max(0, high)

    def _edits(self, record: ImageRecord, images: ImageSet, to: PurePosixPath, borders: Borders) -> list[Edit]:
        edits = replace_image(record, images, to, crop_borders(open_record(record), borders))
        if record.mask is None:
            return edits
        mask = open_image(record.mask, background=(0, 0, 0)).convert("L")
        across, down = mask.width / record.width, mask.height / record.height
        left, top, right, bottom = borders
        scaled = (round(left * across), round(top * down), round(right * across), round(bottom * down))
        return replace_mask(edits, record, images, to, crop_borders(mask, scaled))


def measure_borders(pixels: Pixels, fuzz: float) -> Borders:
    """Return the width of the uniform border at each edge of an image [H, W, C]; zeros for an image of one colour.

    An edge's colour is the median of its outermost line. A line belongs to the border if nearly all of its pixels are
    within `fuzz` of that colour, and the border counts if it is flat, unlike gradients and dark rooms. Edges are
    measured twice, because a border can lie inside a border of another colour.
    """
    height, width = pixels.shape[:2]
    left = top = right = bottom = 0
    for _ in range(2):
        inner = pixels[top : height - bottom, left : width - right]
        above, below = _border_lines(inner, fuzz), _border_lines(inner[::-1], fuzz)
        if above + below >= len(inner):
            return 0, 0, 0, 0
        top, bottom = top + above, bottom + below
        turned = pixels[top : height - bottom, left : width - right].swapaxes(0, 1)
        before, after = _border_lines(turned, fuzz), _border_lines(turned[::-1], fuzz)
        if before + after >= len(turned):
            return 0, 0, 0, 0
        left, right = left + before, right + after
    return left, top, right, bottom


def _border_lines(lines: Pixels, fuzz: float) -> int:
    """Return how many of the first lines [N, W, C] form a flat border."""
    off = _color_distance(lines[:1], lines[:1])
    if (off > 255 * fuzz).mean() > MAX_STRAY_SHARE:  # most images end here, after one line
        return 0
    off = _color_distance(lines, lines[:1])
    uniform = (off > 255 * fuzz).mean(1) <= MAX_STRAY_SHARE
    count = len(uniform) if uniform.all() else int(uniform.argmin())
    # JPEG blocks at the inner edge contain both border and content.
    outer = count - min(_BLOCK, count // 2)
    return count if count and (off[:outer] <= FLAT_TOLERANCE).mean() >= MIN_FLAT_SHARE else 0


def _color_distance(lines: Pixels, first: Pixels) -> Pixels:
    """Return [N, W]: each pixel's distance from the first line's median colour, in the channel that differs most."""
    colour = np.median(first[0], axis=0).astype(np.int16)
    return np.asarray(np.abs(lines - colour).max(2), np.int16)


def _visible_pixels(image: Image.Image) -> Pixels:
    """Return the pixels with colours multiplied by alpha: colours under full transparency do not count."""
    pixels = np.asarray(image).astype(np.int16)
    if image.mode != "RGBA":
        return pixels
    alpha = pixels[..., 3:]
    return np.concatenate([(pixels[..., :3].astype(np.int32) * alpha // 255).astype(np.int16), alpha], 2)


def crop_borders(image: Image.Image, borders: Borders) -> Image.Image:
    """Return an image without its borders."""
    left, top, right, bottom = borders
    return image.crop((left, top, image.width - right, image.height - bottom))


def _why(record: ImageRecord, borders: Borders) -> str:
    edges = ", ".join(f"{border} px {edge}" for edge, border in zip(_EDGES, borders, strict=True) if border)
    width, height = record.width - borders[0] - borders[2], record.height - borders[1] - borders[3]
    return f"uniform border: {edges}; {record.width} x {record.height} becomes {width} x {height}"
