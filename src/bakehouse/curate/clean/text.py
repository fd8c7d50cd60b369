"""Text in images: where it is, what it says, and what it is there for."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

from bakehouse.curate.extras import need

TextKind = Literal["url", "watermark", "signature", "bubble", "text"]
Point = tuple[float, float]

SURE = 0.6
"""Least confidence of a reading."""
LEAST_LETTERS = 3
"""Readers take lashes, teeth and crossed lines for a sign or two. A letter of a CJK script counts for two."""
EDGE = 0.15
"""Of the side: text whose middle is so near to an edge, and small, is a signature."""
SMALL = 0.08
"""Of the image's height, at most, for the letters of a signature."""
_CJK = 0x2E80
BRIGHT, EVEN = 225.0, 12.0
"""Ground of a speech bubble: mean and deviation of grey values 0..255 around the text."""
SAME_PLACE, SAME_WORDS, SHARE, LEAST = 0.5, 0.7, 0.10, 3
"""A watermark: boxes that overlap so far, words so alike, in such a share of the images and in so many of them."""

_NAMES = (
    "pixiv", "fanbox", "patreon", "twitter", "instagram", "deviantart", "tumblr", "artstation", "facebook", "weibo",
    "subscribestar", "gumroad", "shutterstock", "gettyimages", "alamy", "dreamstime", "adobestock", "copyright",
    "repost", "commission",
)  # fmt: skip
_URL = re.compile(
    r"https?:|www\.|\w\.(com|net|org|jp|io|me|tv|co|art|cn|ru|de|uk|moe)\b|^@\w|\s@\w|©|\(c\)|®|™|" + "|".join(_NAMES),
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Text:
    """One line of text in an image."""

    corners: tuple[Point, ...]
    """Four, in pixels, clockwise."""
    words: str
    score: float
    """How sure the reader is, 0..1."""
    kind: TextKind = "text"

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        xs, ys = zip(*self.corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def height(self) -> float:
        """Of the letters, in pixels: the shorter way across the corners."""
        a, b, c, _ = (np.array(corner) for corner in self.corners)
        return float(min(np.linalg.norm(b - a), np.linalg.norm(c - b)))

    def __str__(self) -> str:
        words = self.words if len(self.words) <= 24 else f"{self.words[:23]}…"
        return f"{self.kind} {words!r}"


class TextFinder(Protocol):
    """Finds text in one upright RGB image."""

    def __call__(self, image: Image.Image) -> list[Text]:
        """Every line of text, all of them `text` so far."""
        ...


class RapidText:
    """PP-OCR by the package rapidocr, whose networks come with it."""

    def __init__(self) -> None:
        """Opens the networks.

        Raises:
            UsageError: rapidocr is missing.
        """
        library = need("rapidocr", "finding text")
        self._read: Any = library.RapidOCR(params={"Global.log_level": "critical"})
        self._lock = threading.Lock()

    def __call__(self, image: Image.Image) -> list[Text]:
        """Every line of text."""
        pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])
        with self._lock:
            found = self._read(pixels, use_cls=False)
        if found.boxes is None or found.txts is None:
            return []
        lines = zip(found.boxes, found.txts, found.scores, strict=True)
        return [_line(box, words, score) for box, words, score in lines if score >= SURE and is_writing(str(words))]


def is_writing(words: str) -> bool:
    """Whether what was read is long enough to be writing."""
    return sum(2 if ord(c) >= _CJK else 1 for c in words if c.isalnum()) >= LEAST_LETTERS


def _line(box: Any, words: str, score: float) -> Text:
    corners = tuple((float(x), float(y)) for x, y in np.asarray(box))
    return Text(corners, str(words).strip(), float(score))


def classified(found: Sequence[Text], image: Image.Image) -> list[Text]:
    """The lines of one image, told apart by what they say, where they are and what they stand on."""
    grey = np.asarray(image.convert("L"), dtype=np.float32)
    return [replace(text, kind=_kind(text, grey)) for text in found]


def _kind(text: Text, grey: np.ndarray[Any, Any]) -> TextKind:
    height, width = grey.shape
    if _URL.search(text.words):
        return "url"
    left, top, right, bottom = text.box
    x, y = (left + right) / 2 / width, (top + bottom) / 2 / height
    if min(x, 1 - x, y, 1 - y) <= EDGE and text.height <= SMALL * height:
        return "signature"
    return "bubble" if _on_paper(text, grey) else "text"


def _on_paper(text: Text, grey: np.ndarray[Any, Any]) -> bool:
    """Whether a bright, even ground goes all around the text."""
    height, width = grey.shape
    left, top, right, bottom = text.box
    gap = max(2.0, text.height / 4)
    x0, y0 = max(0, round(left - gap)), max(0, round(top - gap))
    x1, y1 = min(width, round(right + gap)), min(height, round(bottom + gap))
    window = grey[y0:y1, x0:x1]
    if min(window.shape) < 3:
        return False
    ring = np.concatenate([window[0], window[-1], window[:, 0], window[:, -1]])
    return bool(ring.mean() >= BRIGHT and ring.std() <= EVEN)


def marked(found: Mapping[int, Sequence[Text]], sizes: Sequence[tuple[int, int]]) -> dict[int, list[Text]]:
    """The lines of all images, with those that return at one place and in like words told as watermarks.

    Args:
        found: by the number of the image.
        sizes: width and height of each image.
    """
    flat = [(i, text, _relative(text, sizes[i])) for i, lines in found.items() for text in lines]
    needed = max(LEAST, int(SHARE * len(sizes)) + 1)
    result: dict[int, list[Text]] = {i: [] for i in found}
    for i, text, place in flat:
        others = {
            j for j, other, there in flat if j != i and _overlap(place, there) >= SAME_PLACE and _alike(text, other)
        }
        is_mark = len(others) + 1 >= needed and text.kind in ("text", "signature")
        result[i].append(replace(text, kind="watermark") if is_mark else text)
    return result


def _relative(text: Text, size: tuple[int, int]) -> tuple[float, float, float, float]:
    left, top, right, bottom = text.box
    return left / size[0], top / size[1], right / size[0], bottom / size[1]


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Intersection over union."""
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return across * down / max(sum(areas) - across * down, 1e-9)


def _alike(a: Text, b: Text) -> bool:
    return SequenceMatcher(None, a.words.lower(), b.words.lower()).ratio() >= SAME_WORDS
