"""The masks of regions at the size of an image: boxes and mask files, with soft edges."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.data.masks import SHAPE_TOLERANCE
from bakehouse.data.open_image import open_image
from bakehouse.generation.img2img_settings import ImageFile
from bakehouse.generation.inpaint_mask import Bytes, Floats, blurred_mask
from bakehouse.generation.regions import Box, Regions
from bakehouse.generation.source_image import named

if TYPE_CHECKING:
    from bakehouse.generation.read_prompts import ReadPrompt
    from bakehouse.models.text_to_image import ImageSpec


class RegionReader:
    """Adds regions to images; the masks of equal regions at equal sizes are made once."""

    def __init__(self) -> None:
        self._masks: dict[tuple[int, tuple[int, int]], tuple[Floats, ...]] = {}

    def added(self, spec: ImageSpec, regions: Regions | None, read: ReadPrompt) -> ImageSpec:
        """Return an image with the regions that were asked for.

        Args:
            spec: the image without them.
            regions: what was asked for; None: nothing.
            read: what the prompts mean.

        Raises:
            UsageError, ImageError: as `region_masks`.
        """
        if regions is None:
            return spec
        import torch

        from bakehouse.models.region_map import ImageRegion

        key = id(regions), (spec.width, spec.height)
        if key not in self._masks:
            self._masks[key] = region_masks(regions, key[1])
        made = [
            ImageRegion(torch.from_numpy(mask), one.schedule)
            for mask, one in zip(self._masks[key], read.regions, strict=True)
        ]
        return replace(spec, regions=tuple(made), region_base=regions.base)


def region_masks(regions: Regions, size: tuple[int, int]) -> tuple[Floats, ...]:
    """Return the mask of each region, [H, W] of 0 to 1, for an image of a width and height in pixels.

    Raises:
        UsageError: a mask of another shape than the image, or a region of which nothing is left in it.
        ImageError: a mask that cannot be read.
    """
    blur = regions.edge / 100 * min(size)
    masks = []
    for region in regions.regions:
        hard = _of_file(region.mask, size) if region.mask is not None else _of_box(region.box, size)
        if not hard.any():
            raise UsageError(
                f"the region {region.label} marks nothing of an image of {size[0]}x{size[1]}",
                hint="white in a mask belongs to the region, black does not",
            )
        masks.append(blurred_mask(hard, blur).astype(np.float32) / np.float32(255))
    return tuple(masks)


def mask_hash(mask: ImageFile) -> str:
    """Return the md5 of a mask's brightness, whatever file it is in."""
    return hashlib.md5(np.asarray(_brightness(mask)).tobytes(), usedforsecurity=False).hexdigest()


def _of_box(box: Box | None, size: tuple[int, int]) -> Bytes:
    assert box is not None
    columns = _covered(box.left / 100, box.right / 100, size[0])
    rows = _covered(box.top / 100, box.bottom / 100, size[1])
    return np.round(rows[:, None] * columns[None, :] * 255).astype(np.uint8)


def _covered(start: float, end: float, pixels: int) -> Floats:
    """Return how much of each pixel of a line is between two shares of its length."""
    at = np.arange(pixels)
    covered: Floats = (np.minimum(at + 1, end * pixels) - np.maximum(at, start * pixels)).astype(np.float32)
    return np.clip(covered, np.float32(0), np.float32(1))


def _of_file(mask: ImageFile, size: tuple[int, int]) -> Bytes:
    image = _brightness(mask)
    # A pixel more or less is rounding: of a small mask it is more than the tolerance.
    tolerance = SHAPE_TOLERANCE + 1 / min(image.size)
    if abs(image.width * size[1] / (image.height * size[0]) - 1) > tolerance:
        raise UsageError(
            f"mask {named(mask)} is {image.width}x{image.height}, the image is {size[0]}x{size[1]}: the shape differs",
            hint="paint the mask in the shape of the image; only its size may differ",
        )
    return np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BOX))


def _brightness(mask: ImageFile) -> Image.Image:
    """Return a mask as 8-bit gray; of one with transparency its alpha."""
    image = mask.convert("RGBA") if isinstance(mask, Image.Image) else open_image(Path(mask), mode="RGBA")
    opaque = image.getchannel("A").getextrema() == (255, 255)
    return image.convert("L") if opaque else image.getchannel("A")
