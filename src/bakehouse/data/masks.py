"""Loading loss masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from bakehouse.data.buckets import Placement, fit_mask
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import ImageError, open_image

SHAPE_TOLERANCE = 0.01


def load_mask(record: ImageRecord, placement: Placement) -> npt.NDArray[np.float32]:
    """Return the mask of an image in its bucket: float32 [height, width] in 0..1, where 1 is learned.

    From the mask file, or else from the image's alpha channel; all ones if it has neither.

    Raises:
        ImageError: the mask cannot be read, or its shape differs from the image's by more than 1 %.
    """
    if record.mask is not None:
        mask = open_image(record.mask, background=(0, 0, 0)).convert("L")
        check_mask_shape(record, mask)
    elif record.has_alpha:
        mask = open_image(record.path, mode="RGBA").getchannel("A")
    else:
        return np.ones((placement.bucket[1], placement.bucket[0]), dtype=np.float32)
    return np.asarray(fit_mask(mask, placement), dtype=np.float32) / np.float32(255)


def check_mask_shape(record: ImageRecord, mask: Image.Image) -> None:
    """Raise ImageError if a mask's shape differs from its image's by more than 1 %."""
    ratio = (mask.width / mask.height) / (record.width / record.height)
    if abs(ratio - 1) > SHAPE_TOLERANCE:
        sizes = f"{mask.width}x{mask.height}, and {record.path.name} is {record.width}x{record.height}"
        hint = "make the mask again from the image as it is now, or remove it"
        raise ImageError(record.mask or record.path, f"the mask is {sizes}: the aspect ratio differs", hint=hint)
