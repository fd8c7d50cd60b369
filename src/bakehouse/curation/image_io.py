"""What verbs that change pixels share: opening an image with its transparency, and where its mask is."""

from __future__ import annotations

from pathlib import PurePosixPath

from PIL import Image

from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image


def open_record(record: ImageRecord) -> Image.Image:
    """The image as RGB, or as RGBA where it has transparent pixels.

    Raises:
        ImageError: it cannot be read any more.
    """
    return open_image(record.path, mode="RGBA" if record.has_alpha else "RGB")


def mask_name(record: ImageRecord, images: ImageSet, to: PurePosixPath | None = None) -> PurePosixPath:
    """Where the mask of an image is, or is to be: that which it has, else `masks/` below its folder.

    Args:
        record: the image.
        images: of the dataset.
        to: what the image will be called, if not as it is.
    """
    name = to or images.name(record.path)
    if to is None and record.mask is not None and record.mask.is_relative_to(images.root):
        return images.name(record.mask)
    return name.parent / "masks" / f"{name.stem}.png"
