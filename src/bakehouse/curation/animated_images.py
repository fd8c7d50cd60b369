"""Moving pictures are passed over by steps that write pixels: a PNG would keep one frame of them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from bakehouse.core.events import Event, Warned
from bakehouse.core.pluralize import listed
from bakehouse.data.image_records import ImageSet

ADVICE = "`bakehouse dataset convert FOLDER --frames distinct` makes images of their frames"


def stills(images: ImageSet) -> Generator[Event, None, ImageSet]:
    """The images that do not move; says which ones do, and what can be done with those."""
    moving = [images.name(record.path) for record in images if record.frames > 1]
    if moving:
        yield Warned(message=f"passed over, moving pictures: {listed(moving, 8)}; {ADVICE}")
    return replace(images, records=tuple(record for record in images if record.frames == 1))
