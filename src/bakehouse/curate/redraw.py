"""An image that gets other pixels: written without loss, and what belongs to it stays with it."""

from __future__ import annotations

import io
from pathlib import PurePosixPath

from PIL import Image

from bakehouse.curate.companions import followers
from bakehouse.curate.edits import Edit, Remove, Write
from bakehouse.data.images import open_image
from bakehouse.data.records import ImageRecord, ImageSet


def png(image: Image.Image) -> bytes:
    """An image as a PNG file's bytes."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=4)
    return stream.getvalue()


def opened(record: ImageRecord) -> Image.Image:
    """The image as RGB, or as RGBA where it has transparent pixels.

    Raises:
        ImageError: it cannot be read any more.
    """
    return open_image(record.path, mode="RGBA" if record.has_alpha else "RGB")


def redrawn(record: ImageRecord, images: ImageSet, image: Image.Image) -> list[Edit]:
    """`image` in the place of a record's: a PNG of the same stem, so that saving loses nothing."""
    name = images.name(record.path)
    to = png_name(record, images)
    edits: list[Edit] = [Write(to, png(image))]
    return edits if to == name else [*edits, Remove(name), *followers(record, images, to)]


def png_name(record: ImageRecord, images: ImageSet) -> PurePosixPath:
    """What an image is called as a PNG; `a.jpg` is `a.png`, or `a-jpg.png` where there is an `a.png` already."""
    name = images.name(record.path)
    if name.suffix.lower() == ".png":
        return name
    plain = name.with_suffix(".png")
    return plain if not (images.root / plain).exists() else name.with_name(f"{name.stem}-{name.suffix[1:]}.png")


def mask_name(record: ImageRecord, images: ImageSet, to: PurePosixPath | None = None) -> PurePosixPath:
    """Where the mask of an image is, or is to be: that which it has, else `masks/` below its folder.

    Args:
        to: what the image will be called, if not as it is.
    """
    name = to or images.name(record.path)
    if to is None and record.mask is not None and record.mask.is_relative_to(images.root):
        return images.name(record.mask)
    return name.parent / "masks" / f"{name.stem}.png"
