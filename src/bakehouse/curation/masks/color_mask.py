"""Masks from a uniform background colour."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt
from PIL import Image

from bakehouse.core.optional_imports import import_optional

Rgb = tuple[int, int, int]
Floats = npt.NDArray[np.float32]

SATURATED = 0.5
"""Saturation from which enclosed areas of the colour (between an arm and the body) count as background too."""
_RIM = 2
"""Width in pixels of the soft edge, where subject and background mix."""


def border_color(image: Image.Image) -> Rgb:
    """Return the median colour of an image's outermost pixels, channel by channel."""
    values = np.asarray(image.convert("RGB"))
    ring = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    red, green, blue = (int(v) for v in np.median(ring, axis=0))
    return red, green, blue


def color_mask(image: Image.Image, color: Rgb, tolerance: float) -> Floats:
    """Return the mask of the subject: float32 [height, width], 1 is the subject.

    Background are pixels near the colour that are connected to the edge of the image. If the colour is saturated,
    enclosed areas count too; for white this would remove the eyes.

    Args:
        image: RGB.
        color: of the background.
        tolerance: largest RGB distance, 0..1; 1 is the distance from black to white.
    """
    cv2 = import_optional("cv2", "masks by colour")
    values = np.asarray(image.convert("RGB"), dtype=np.float32)
    distance = np.linalg.norm(values - np.array(color, dtype=np.float32), axis=2) / np.float32(255 * 3**0.5)
    near = (distance <= tolerance).astype(np.uint8)
    if _saturation(color) < SATURATED:
        _, parts = cv2.connectedComponents(near, connectivity=4)
        edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
        near = near & np.isin(parts, np.unique(edge[edge > 0])).astype(np.uint8)
    rim = cv2.dilate(near, np.ones((2 * _RIM + 1,) * 2, np.uint8)) > 0
    soft = np.clip(distance / np.float32(max(tolerance, 1e-3)) - 1, 0.0, 1.0)
    return np.where(near > 0, 0.0, np.where(rim, soft, 1.0)).astype(np.float32)


def _saturation(color: Rgb) -> float:
    return colorsys.rgb_to_hsv(*(v / 255 for v in color))[1]
