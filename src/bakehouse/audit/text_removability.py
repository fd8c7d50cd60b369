"""What `dataset clean` can do about text: how busy the background around it is, and whether a mask excludes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bakehouse.audit.facts import Box4
from bakehouse.core.errors import UsageError
from bakehouse.core.model_catalogue import model_path
from bakehouse.curation.clean.fill_text import VISIBLE_ERROR, fill_error, text_mask
from bakehouse.data.open_image import ImageError, open_image
from bakehouse.vision.text_detection import TextRegion


def has_inpainter() -> bool:
    """Return whether the default inpainting network of `dataset clean` is installed."""
    try:
        model_path("big-lama", "inpainter")
    except UsageError:
        return False
    return True


def on_busy_background(texts: Sequence[TextRegion], image: Image.Image) -> frozenset[Box4]:
    """Return the boxes of texts where filling with background colours would be visible."""
    return frozenset(t.box for t in texts if fill_error(image, t, texts) >= VISIBLE_ERROR)


def unmasked_texts(texts: Sequence[TextRegion], mask: Path | None, size: tuple[int, int]) -> tuple[TextRegion, ...]:
    """Return the texts that the image's mask does not wholly exclude from the loss; an unusable mask excludes none.

    Args:
        texts: of the image.
        mask: its mask, if there is one.
        size: width and height of the image.
    """
    if mask is None or not texts:
        return tuple(texts)
    try:
        gray = np.asarray(open_image(mask, background=(0, 0, 0)).convert("L").resize(size))
    except ImageError:
        return tuple(texts)
    return tuple(t for t in texts if gray[text_mask([t], size) > 0].any())
