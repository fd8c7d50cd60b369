"""What `dataset clean` can do about text: how rough its ground is, and what is out of the loss already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bakehouse.audit.image_facts import Box4
from bakehouse.core.errors import UsageError
from bakehouse.core.model_catalogue import model_path
from bakehouse.curation.clean.background_fill import VISIBLE_ERROR, fill_error, text_mask
from bakehouse.data.open_image import ImageError, open_image
from bakehouse.vision.text_detection import TextRegion


def has_painter() -> bool:
    """Whether the inpainter that `clean` takes unasked is on this machine."""
    try:
        model_path("big-lama", "inpainter")
    except UsageError:
        return False
    return True


def on_rough_ground(texts: Sequence[TextRegion], image: Image.Image) -> frozenset[Box4]:
    """The boxes of texts around which painting would show."""
    return frozenset(t.box for t in texts if fill_error(image, t, texts) >= VISIBLE_ERROR)


def learned(texts: Sequence[TextRegion], mask: Path | None, size: tuple[int, int]) -> tuple[TextRegion, ...]:
    """The texts without those that the mask of their image makes wholly black; a mask that is unfit hides none."""
    if mask is None or not texts:
        return tuple(texts)
    try:
        grey = np.asarray(open_image(mask, background=(0, 0, 0)).convert("L").resize(size))
    except ImageError:
        return tuple(texts)
    return tuple(t for t in texts if grey[text_mask([t], size) > 0].any())
