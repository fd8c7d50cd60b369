"""Images made square by adding, never by cutting."""

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
from bakehouse.curation.animated_images import stills
from bakehouse.curation.changeset import Edit, Proposal
from bakehouse.curation.colors import rgb
from bakehouse.curation.image_io import opened
from bakehouse.curation.output_images import Names, masked, replaced
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image

Place = Literal["center", "top", "bottom"]


def _fill(text: str) -> str:
    if text != "edge":
        rgb(text)
    return text


Fill = Annotated[str, AfterValidator(_fill)]


class Square(Spec):
    """Pads images to squares. A mask is padded with black, so that nothing added is learned."""

    fill: Fill = "white"
    """A colour (`white`, `#ff8800`), or `edge`: the outermost pixels go on."""
    place: Place = "center"
    """Where a picture that is wider than high stands in its square; a higher one stands in the middle."""
    tolerance: float = Field(0.0, ge=0, le=0.5)
    """Images whose sides differ by no more than this share stay as they are."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Images that are not square."""
        names = Names(images)
        for record in (yield from stills(images)):
            side = max(record.width, record.height)
            if side - min(record.width, record.height) <= self.tolerance * side:
                continue
            why = f"{record.width} x {record.height} becomes {side} x {side}"
            make = functools.partial(self._edits, record, images, names.claim(record))
            yield Proposal(images.name(record.path), why, make)

    def _edits(self, record: ImageRecord, images: ImageSet, to: PurePosixPath) -> list[Edit]:
        edits = replaced(record, images, to, squared(opened(record), self.fill, self.place))
        if record.mask is None:
            return edits
        mask = squared(open_image(record.mask, background=(0, 0, 0)).convert("L"), "black", self.place)
        return masked(edits, record, images, to, mask)


def squared(image: Image.Image, fill: str, place: Place = "center") -> Image.Image:
    """An image on a square of its longer side; around a picture with transparent parts the square is transparent.

    Args:
        image: of any mode that has names for its colours.
        fill: a colour, or `edge`.
        place: where a wide image stands.
    """
    side = max(image.size)
    left = (side - image.width) // 2
    top = {"center": (side - image.height) // 2, "top": 0, "bottom": side - image.height}[place]
    if fill == "edge":
        around = ((top, side - image.height - top), (left, side - image.width - left))
        array = np.asarray(image)
        return Image.fromarray(np.pad(array, (*around, *([(0, 0)] * (array.ndim - 2))), mode="edge"))
    red, green, blue = rgb(fill)
    colours: dict[str, int | tuple[int, ...]] = {"L": red, "RGBA": (red, green, blue, 0)}
    square = Image.new(image.mode, (side, side), colours.get(image.mode, (red, green, blue)))
    square.paste(image, (left, top))
    return square
