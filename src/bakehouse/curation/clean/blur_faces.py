"""Faces of other people, blurred: who is not the subject must not be learned as it."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageFilter

from bakehouse.vision.faces import Face

MARGIN = 0.2
"""Of the face's size: how far the blur goes beyond its box on each side."""
BLUR = 0.25
"""Of the face's height: radius of the blur; nothing of eyes, nose and mouth is left."""
FEATHER = 0.06
"""Of the face's height: how the blur fades at its rim."""


def blur_faces(image: Image.Image, faces: Iterable[Face]) -> Image.Image:
    """The image with these faces blurred in soft ellipses; transparency stays as it is."""
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
