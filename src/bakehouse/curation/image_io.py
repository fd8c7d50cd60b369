"""Open a dataset image with its transparency, and name its mask file."""

from __future__ import annotations

from pathlib import PurePosixPath

from PIL import Image

from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image


def open_record(record: ImageRecord) -> Image.Image:
    """Return the image as RGB, or as RGBA if it has transparent pixels.

    Raises:
        ImageError: the file can no longer be read.
    """
    return open_image(record.path, mode="RGBA" if record.has_alpha else "RGB")


def mask_name(record: ImageRecord, images: ImageSet, to: PurePosixPath | None = None) -> PurePosixPath:
    """Return the path below the dataset of an image's mask: the existing one, else `masks/NAME.png` beside the image.

    Args:
        record: the image.
        images: its dataset.
        to: the image's new path, if it is renamed.
    """
    name = to or images.name(record.path)
    if to is None and record.mask is not None and record.mask.is_relative_to(images.root):
        return images.name(record.mask)
    return name.parent / "masks" / f"{name.stem}.png"
