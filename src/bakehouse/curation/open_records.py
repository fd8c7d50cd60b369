"""Open dataset images, skipping damaged ones with a warning, and name their mask files."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import PurePosixPath

from PIL import Image

from bakehouse.core.events import Event, Warned
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import ImageError, open_image


def open_record(record: ImageRecord) -> Image.Image:
    """Return the image as RGB, or as RGBA if it has transparent pixels.

    Raises:
        ImageError: the file can no longer be read.
    """
    return open_image(record.path, mode="RGBA" if record.has_alpha else "RGB")


def open_on_white(record: ImageRecord) -> Image.Image:
    """Return the image as RGB on a white background, as networks expect it.

    Raises:
        ImageError: the file can no longer be read.
    """
    return open_image(record.path)


def open_or_skip(
    record: ImageRecord, images: ImageSet, open_: Callable[[ImageRecord], Image.Image] = open_record
) -> Generator[Event, None, Image.Image | None]:
    """Return the image, or None after yielding a warning: some damage is found only when the whole file is decoded."""
    try:
        return open_(record)
    except ImageError as error:
        yield skip_warning(images.name(record.path), error)
        return None


def skip_warning(name: PurePosixPath, error: ImageError) -> Warned:
    """Return the warning that an image is left unchanged because it, or its mask, cannot be decoded."""
    file = "" if error.path.name == name.name else f"{error.path.parent.name}/{error.path.name}: "
    return Warned(message=f"skipped {name}: {file}{error.reason}")


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
