"""One mask beside its image: does it fit, how much does it keep, can it be trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bakehouse.audit.image_facts import MaskFacts
from bakehouse.core.errors import UsageError
from bakehouse.curation.masks.mask_quality import measure_mask
from bakehouse.data.masks import SHAPE_TOLERANCE
from bakehouse.data.open_image import ImageError, open_image


def look_at_mask(path: Path, name: str, image: str, size: tuple[int, int]) -> MaskFacts:
    """Opens a mask and takes its figures; the quality check is left out where OpenCV is not installed.

    Args:
        path: of the mask.
        name: its name in the dataset.
        image: the image's name.
        size: the image's width and height.
    """
    try:
        grey = open_image(path, background=(0, 0, 0)).convert("L")
    except ImageError as e:
        return MaskFacts(name, path, image, e.reason)
    (width, height), (wide, high) = size, grey.size
    if abs((wide / high) / (width / height) - 1) > SHAPE_TOLERANCE:
        return MaskFacts(name, path, image, f"it is {wide} x {high}, and {image} {width} x {height}")
    values = np.asarray(grey, dtype=np.float32) / np.float32(255)
    share = float(values.mean())
    if not values.any():
        return MaskFacts(name, path, image, "it is all black: nothing of the image would be learned", share)
    try:
        return MaskFacts(name, path, image, share=share, faults=tuple(measure_mask(values).problems))
    except UsageError:
        return MaskFacts(name, path, image, share=share, checked=False)
