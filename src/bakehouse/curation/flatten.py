"""Transparent images laid on a colour, or their alpha made into a mask for the loss."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import PurePosixPath

from bakehouse.core.events import Event
from bakehouse.core.settings import Spec
from bakehouse.curation.animated_images import still_images
from bakehouse.curation.changeset import Edit, Proposal
from bakehouse.curation.colors import Color, parse_rgb
from bakehouse.curation.image_io import open_record
from bakehouse.curation.output_images import OutputNames, replace_image, replace_mask
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import flattened


class Flatten(Spec):
    """Lays transparent images on a colour. Trainers that drop alpha show what was hidden behind it."""

    color: Color = "white"
    """What shows where the image does not: `white`, `#ff8800`."""
    to_mask: bool = False
    """Alpha becomes the image's mask, so that nothing of the colour is learned; a mask that is there stays."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Images with at least one pixel that is not opaque."""
        names = OutputNames(images)
        for record in (yield from still_images(images)):
            if not record.has_alpha:
                continue
            makes_mask = self.to_mask and record.mask is None
            why = f"transparent pixels, laid on {self.color}" + (", alpha becomes its mask" if makes_mask else "")
            make = functools.partial(self._edits, record, images, names.claim(record), makes_mask=makes_mask)
            yield Proposal(images.name(record.path), why, make)

    def _edits(self, record: ImageRecord, images: ImageSet, to: PurePosixPath, *, makes_mask: bool) -> list[Edit]:
        image = open_record(record)
        edits = replace_image(record, images, to, flattened(image, parse_rgb(self.color)))
        return replace_mask(edits, record, images, to, image.getchannel("A")) if makes_mask else edits
