"""What verbs that change pixels share: opening an image with its transparency, and where its mask is."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import PurePosixPath

from PIL import Image

from bakehouse.core.events import Event, Warned
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import ImageError, open_image


def opened(record: ImageRecord) -> Image.Image:
    """The image as RGB, or as RGBA where it has transparent pixels.

    Raises:
        ImageError: it cannot be read any more.
    """
    return open_image(record.path, mode="RGBA" if record.has_alpha else "RGB")


def opened_flat(record: ImageRecord) -> Image.Image:
    """The image as RGB, on white: what a network looks at.

    Raises:
        ImageError: it cannot be read any more.
    """
    return open_image(record.path)


def tried(
    record: ImageRecord, images: ImageSet, open_: Callable[[ImageRecord], Image.Image] = opened
) -> Generator[Event, None, Image.Image | None]:
    """The image, or None after saying that it is passed over: some damage is found only when all is decoded."""
    try:
        return open_(record)
    except ImageError as error:
        yield passed_over(images.name(record.path), error)
        return None


def passed_over(name: PurePosixPath, error: ImageError) -> Warned:
    """That an image is left as it is, and why: it cannot be decoded, or its mask cannot."""
    whose = "" if error.path.name == name.name else f"{error.path.parent.name}/{error.path.name}: "
    return Warned(message=f"passed over: {name}: {whose}{error.reason}")


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
