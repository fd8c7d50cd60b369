"""`dataset flatten`: composite transparent images onto a colour, or turn their alpha channel into a mask."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import PurePosixPath

from bakehouse.core.events import Event
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal
from bakehouse.curation.colors import Color, parse_rgb
from bakehouse.curation.open_records import open_record
from bakehouse.curation.output_images import OutputNames, replace_image, replace_mask
from bakehouse.curation.skip_animated import still_images
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import flattened


class Flatten(Spec):
    """Settings of `dataset flatten`. Trainers that drop the alpha channel would train on the hidden colours."""

    color: Color = "white"
    """Background colour: `white`, `#ff8800`."""
    to_mask: bool = False
    """Also write the alpha channel as the image's mask, so that the background is not learned. Keeps existing masks."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Propose to flatten each image with at least one pixel that is not opaque."""
        names = OutputNames(images)
        for record in (yield from still_images(images)):
            if not record.has_alpha:
                continue
            makes_mask = self.to_mask and record.mask is None
            why = f"transparent pixels on {self.color}" + (", alpha channel becomes the mask" if makes_mask else "")
            make = functools.partial(self._edits, record, images, names.claim(record), makes_mask=makes_mask)
            yield Proposal(images.name(record.path), why, make)

    def _edits(self, record: ImageRecord, images: ImageSet, to: PurePosixPath, *, makes_mask: bool) -> list[Edit]:
        image = open_record(record)
        edits = replace_image(record, images, to, flattened(image, parse_rgb(self.color)))
        return replace_mask(edits, record, images, to, image.getchannel("A")) if makes_mask else edits
