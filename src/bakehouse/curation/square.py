"""`dataset square`: pad images to squares."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import AfterValidator, Field

from bakehouse.core.events import Event
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal
from bakehouse.curation.colors import parse_rgb
from bakehouse.curation.open_records import open_record
from bakehouse.curation.output_images import OutputNames, replace_image, replace_mask
from bakehouse.curation.skip_animated import still_images
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image

Position = Literal["center", "top", "bottom"]


def _check_fill(text: str) -> str:
    if text != "edge":
        parse_rgb(text)
    return text


Fill = Annotated[str, AfterValidator(_check_fill)]


class Square(Spec):
    """Settings of `dataset square`. Masks are padded with black, so that the padding is not learned."""

    fill: Fill = "white"
    """A colour (`white`, `#ff8800`), or `edge` to repeat the outermost pixels."""
    place: Position = "center"
    """Vertical position of a landscape image in its square; portrait images are centred."""
    tolerance: float = Field(0.0, ge=0, le=0.5)
    """Images whose sides differ by at most this share stay unchanged."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Propose to pad each image that is not square."""
        names = OutputNames(images)
        for record in (yield from still_images(images)):
            side = max(record.width, record.height)
            if side - min(record.width, record.height) <= self.tolerance * side:
                continue
            why = f"{record.width} x {record.height} becomes {side} x {side}"
            make = functools.partial(self._edits, record, images, names.claim(record))
            yield Proposal(images.name(record.path), why, make)

    def _edits(self, record: ImageRecord, images: ImageSet, to: PurePosixPath) -> list[Edit]:
        edits = replace_image(record, images, to, pad_to_square(open_record(record), self.fill, self.place))
        if record.mask is None:
            return edits
        mask = pad_to_square(open_image(record.mask, background=(0, 0, 0)).convert("L"), "black", self.place)
        return replace_mask(edits, record, images, to, mask)


def pad_to_square(image: Image.Image, fill: str, place: Position = "center") -> Image.Image:
    """Return an image padded to the square of its longer side; the padding of an RGBA image is transparent.

    Args:
        image: RGB, RGBA or L.
        fill: a colour, or `edge`.
        place: vertical position of a landscape image.
    """
    side = max(image.size)
    left = (side - image.width) // 2
    top = {"center": (side - image.height) // 2, "top": 0, "bottom": side - image.height}[place]
    if fill == "edge":
        around = ((top, side - image.height - top), (left, side - image.width - left))
        array = np.asarray(image)
        return Image.fromarray(np.pad(array, (*around, *([(0, 0)] * (array.ndim - 2))), mode="edge"))
    red, green, blue = parse_rgb(fill)
    colours: dict[str, int | tuple[int, ...]] = {"L": red, "RGBA": (red, green, blue, 0)}
    square = Image.new(image.mode, (side, side), colours.get(image.mode, (red, green, blue)))
    square.paste(image, (left, top))
    return square
