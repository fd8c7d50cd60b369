"""Measure one mask: does it fit its image, what share of the loss does it keep, is it plausible."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bakehouse.audit.facts import MaskFacts
from bakehouse.core.errors import UsageError
from bakehouse.curation.masks.mask_quality import measure_mask
from bakehouse.data.masks import SHAPE_TOLERANCE
from bakehouse.data.open_image import ImageError, open_image


def collect_mask_facts(path: Path, name: str, image: str, size: tuple[int, int]) -> MaskFacts:
    """Open a mask and measure it; without OpenCV the quality check is left out.

    Args:
        path: of the mask.
        name: of the mask in the dataset.
        image: the image's name.
        size: the image's width and height.
    """
    try:
        gray = open_image(path, background=(0, 0, 0)).convert("L")
    except ImageError as e:
        return MaskFacts(name, path, image, e.reason)
    (width, height), (mask_width, mask_height) = size, gray.size
    if abs((mask_width / mask_height) / (width / height) - 1) > SHAPE_TOLERANCE:
        reason = f"its size is {mask_width} x {mask_height}, {image} has {width} x {height}"
        return MaskFacts(name, path, image, reason)
    values = np.asarray(gray, dtype=np.float32) / np.float32(255)
    share = float(values.mean())
    if not values.any():
        return MaskFacts(name, path, image, "it is all black: nothing of the image would be learned", share)
    try:
        return MaskFacts(name, path, image, share=share, faults=tuple(measure_mask(values).problems))
    except UsageError:
        return MaskFacts(name, path, image, share=share, checked=False)
