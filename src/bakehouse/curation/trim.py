"""Uniform borders cut away: letterboxes, frames, empty space around a figure."""

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
from bakehouse.curation.animated_images import stills
from bakehouse.curation.changeset import Edit, Proposal
from bakehouse.curation.image_io import opened, tried
from bakehouse.curation.output_images import Names, masked, replaced
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image

Borders = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""
Pixels = NDArray[np.int16]

STRAY = 0.002
"""Of a line's pixels: so many may be anything, for the noise of a JPEG; a hair's tip is more."""
LEVEL = 1
"""Levels of 255: a border is flat to this, whatever the fuzz. A dark room is as even as a border, but not as flat."""
FLAT = 0.9
"""Of a border's pixels: so many must be flat."""
_BLOCK = 8
_EDGES = ("left", "top", "right", "bottom")


class Trim(Spec):
    """Cuts uniform borders away, edge by edge; a mask is cut with its image."""

    fuzz: float = Field(0.04, ge=0, le=0.5)
    """How far a border's pixels may be from its colour; 1 is black to white."""
    most: float = Field(0.45, gt=0, lt=0.5)
    """At most this share of the width or height is cut from one edge."""
    shortest: int = Field(256, ge=1)
    """No side is cut to fewer pixels than this."""
    least: int = Field(2, ge=1)
    """Thinner borders stay: cutting them is not worth writing the image anew."""
    margin: int = Field(0, ge=0)
    """So many pixels of a border stay around the picture."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Images with a border."""
        names, still = Names(images), (yield from stills(images))
        for done, record in enumerate(still, 1):
            image = yield from tried(record, images)
            if image is not None and any(borders := self.borders(image)):
                make = functools.partial(self._edits, record, images, names.claim(record), borders)
                yield Proposal(images.name(record.path), _why(record, borders), make)
            yield Progress(what="looking for borders", done=done, total=len(still))

    def borders(self, image: Image.Image) -> Borders:
        """What would be cut from an RGB or RGBA image, in pixels; zeros where there is no border."""
        pixels = _seen(image)
        left, top, right, bottom = found = measure(pixels, self.fuzz)
        if not any(found):
            return found
        left, right = self._limited(left, right, image.width)
        top, bottom = self._limited(top, bottom, image.height)
        return left, top, right, bottom

    def _limited(self, low: int, high: int, side: int) -> tuple[int, int]:
        """Two borders that face each other, within what may be cut."""
        low, high = (min(b - self.margin, int(side * self.most)) for b in (low, high))
        low, high = (b if b >= self.least else 0 for b in (low, high))
        missing = min(self.shortest, side) - (side - low - high)
        if missing > 0:
            # What is given back is shared as the borders are, so that the picture stays where it is in its frame.
            back = min(low, round(missing * low / (low + high)))
            low, high = low - back, high - (missing - back)
        return low, max(0, high)

    def _edits(self, record: ImageRecord, images: ImageSet, to: PurePosixPath, borders: Borders) -> list[Edit]:
        edits = replaced(record, images, to, cut(opened(record), borders))
        if record.mask is None:
            return edits
        mask = open_image(record.mask, background=(0, 0, 0)).convert("L")
        across, down = mask.width / record.width, mask.height / record.height
        left, top, right, bottom = borders
        scaled = (round(left * across), round(top * down), round(right * across), round(bottom * down))
        return masked(edits, record, images, to, cut(mask, scaled))


def measure(pixels: Pixels, fuzz: float) -> Borders:
    """The uniform border at each edge of an image [H, W, C]; zeros for an image of one colour.

    An edge's colour is the median of its outermost line. A line belongs to the border if next to all of its pixels are
    within `fuzz` of that colour, and the border counts if it is flat: gradients and dark rooms are not. Sides are
    looked at twice, for a border can lie inside another of another colour.
    """
    height, width = pixels.shape[:2]
    left = top = right = bottom = 0
    for _ in range(2):
        inner = pixels[top : height - bottom, left : width - right]
        above, below = _border(inner, fuzz), _border(inner[::-1], fuzz)
        if above + below >= len(inner):
            return 0, 0, 0, 0
        top, bottom = top + above, bottom + below
        turned = pixels[top : height - bottom, left : width - right].swapaxes(0, 1)
        before, after = _border(turned, fuzz), _border(turned[::-1], fuzz)
        if before + after >= len(turned):
            return 0, 0, 0, 0
        left, right = left + before, right + after
    return left, top, right, bottom


def _border(lines: Pixels, fuzz: float) -> int:
    """How many of the first lines [N, W, C] are one flat border."""
    off = _off(lines[:1], lines[:1])
    if (off > 255 * fuzz).mean() > STRAY:  # most images end here, after one line
        return 0
    off = _off(lines, lines[:1])
    uniform = (off > 255 * fuzz).mean(1) <= STRAY
    count = len(uniform) if uniform.all() else int(uniform.argmin())
    # Next to the picture a JPEG's blocks hold some of both.
    outer = count - min(_BLOCK, count // 2)
    return count if count and (off[:outer] <= LEVEL).mean() >= FLAT else 0


def _off(lines: Pixels, first: Pixels) -> Pixels:
    """[N, W]: how far each pixel is from the median colour of the first line, in the channel that differs most."""
    colour = np.median(first[0], axis=0).astype(np.int16)
    return np.asarray(np.abs(lines - colour).max(2), np.int16)


def _seen(image: Image.Image) -> Pixels:
    """Pixels as they are seen: what is hidden below full transparency counts for nothing."""
    pixels = np.asarray(image).astype(np.int16)
    if image.mode != "RGBA":
        return pixels
    alpha = pixels[..., 3:]
    return np.concatenate([(pixels[..., :3].astype(np.int32) * alpha // 255).astype(np.int16), alpha], 2)


def cut(image: Image.Image, borders: Borders) -> Image.Image:
    """An image without its borders."""
    left, top, right, bottom = borders
    return image.crop((left, top, image.width - right, image.height - bottom))


def _why(record: ImageRecord, borders: Borders) -> str:
    edges = ", ".join(f"{border} px {edge}" for edge, border in zip(_EDGES, borders, strict=True) if border)
    width, height = record.width - borders[0] - borders[2], record.height - borders[1] - borders[3]
    return f"a uniform border: {edges}; {record.width} x {record.height} becomes {width} x {height}"
