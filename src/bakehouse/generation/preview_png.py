"""Preview images as text, so that their events can be saved and sent like all others."""

from __future__ import annotations

import base64
import io

from PIL import Image


def preview_png(image: Image.Image) -> str:
    """Return an image as PNG in base64."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def preview_image(png: str) -> Image.Image:
    """Return the image of a `Previewed` event's `png`."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        return image.convert("RGB")
