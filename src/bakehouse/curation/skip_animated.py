"""Filter out animated images: operations that write a PNG would keep only one frame."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from bakehouse.core.events import Event, Warned
from bakehouse.core.message_text import listed
from bakehouse.data.image_records import ImageSet

ADVICE = "`bakehouse dataset convert FOLDER --frames distinct` turns their frames into images"


def still_images(images: ImageSet) -> Generator[Event, None, ImageSet]:
    """Return the dataset without animated images; yield a warning that names them."""
    animated = [images.name(record.path) for record in images if record.frames > 1]
    if animated:
        yield Warned(message=f"skipped animated images: {listed(animated)}; {ADVICE}")
    return replace(images, records=tuple(record for record in images if record.frames == 1))
