"""Stands in for the reader of text, which takes a second for each picture: it finds the heap's own marks, no others."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageColor, ImageDraw

from bakehouse.vision.text_detection import TextRegion
from tools.make_messy_folder import MARKS, SIZE


def read(image: Image.Image) -> list[TextRegion]:
    """The marks of the heap that are in a picture: ink wherever a letter is, and none wherever no letter is."""
    found = []
    for words, ink in MARKS.items():
        letters, ground = _letters(words)
        has_ink = (np.asarray(image.convert("RGB")) == ImageColor.getrgb(ink)).all(axis=2)
        if has_ink.shape[0] < letters.shape[0] or has_ink.shape[1] < letters.shape[1]:
            continue
        there, beside = (
            cv2.matchTemplate(has_ink.astype(np.float32), part.astype(np.float32), cv2.TM_CCORR)
            for part in (letters, ground)
        )
        for top, left in np.argwhere((there > letters.sum() - 0.5) & (beside < 0.5)):
            x0, y0, x1, y1 = left - 1, top - 1, left + letters.shape[1] + 1, top + letters.shape[0] + 1
            found.append(TextRegion(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), words, 1.0))
    return found


def _letters(words: str) -> tuple[np.ndarray, np.ndarray]:
    """Where letters are all ink, and where there is nothing of them: from the first pixel of them to the last."""
    canvas = Image.new("L", (len(words) * SIZE, 2 * SIZE))
    ImageDraw.Draw(canvas).text((0, 0), words, fill=255, font_size=SIZE)
    shade = np.asarray(canvas)
    rows, columns = np.flatnonzero(shade.any(axis=1)), np.flatnonzero(shade.any(axis=0))
    shade = shade[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return shade == 255, shade == 0
