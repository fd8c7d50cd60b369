"""Blur faces of other people, so that they are not learned as the subject's."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageFilter

from bakehouse.vision.faces import Face

MARGIN = 0.2
"""Share of the face's size by which the blur extends beyond its box on each side."""
BLUR = 0.25
"""Radius of the blur as a share of the face's height; eyes, nose and mouth disappear."""
FEATHER = 0.06
"""Width of the soft edge as a share of the face's height."""


def blur_faces(image: Image.Image, faces: Iterable[Face]) -> Image.Image:
    """Return the image with each face blurred in a soft ellipse; transparency is unchanged."""
    result = image.copy()
    for face in faces:
        left, top, right, bottom = face.box
        wide, high = MARGIN * face.width, MARGIN * face.height
        oval = Image.new("L", image.size)
        ImageDraw.Draw(oval).ellipse((left - wide, top - high, right + wide, bottom + high), fill=255)
        oval = oval.filter(ImageFilter.GaussianBlur(FEATHER * face.height))
        blurred = result.filter(ImageFilter.GaussianBlur(BLUR * face.height))
        if image.mode == "RGBA":
            blurred.putalpha(image.getchannel("A"))
        result.paste(blurred, (0, 0), oval)
    return result
