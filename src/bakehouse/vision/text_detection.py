"""Text in images: where it is, what it says, and what it is there for."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from bakehouse.core.optional_imports import import_optional

TextKind = Literal["url", "watermark", "signature", "bubble", "text"]
Point = tuple[float, float]
Rect = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
Floats = npt.NDArray[np.float32]

SURE = 0.6
"""Least confidence of a reading."""
LEAST_LETTERS = 3
"""Readers take lashes, teeth and crossed lines for a sign or two. A letter of a CJK script counts for two."""
EDGE = 0.15
"""Of the side: text whose middle is so near to an edge, and small, is a signature."""
SMALL = 0.08
"""Of the image's height, at most, for the letters of a signature."""
_CJK = 0x2E80
_STROKES = frozenset("mnwuvil1ot0")
"""Signs that rows of rings, tiles, windows and railings are taken for."""
BRIGHT, EVEN = 225.0, 12.0
"""Ground of a speech bubble: mean and deviation of grey values 0..255 around the text."""
_LINE_GAP = 0.9
"""Of the letters' height: lines of one block are no farther apart."""
_REACH, _OTHER = 3, 40.0
"""A sign or a bubble ends within so many heights of its letters, and outside are other colours, by so much of 255."""
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
        library = import_optional("rapidocr", "finding text")
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
    """The lines of one image, told apart by what they say, where they are and what they stand on.

    Patterns that readers take for letters (`mmmm` of a ring binding, `AAA` of roofs) are left out.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    kinds = [replace(text, kind=_kind(text, block, pixels)) for text, block in zip(found, _blocks(found), strict=True)]
    return [text for text in kinds if text.kind == "bubble" or not _is_pattern(text.words)]


def _kind(text: Text, block: Rect, pixels: Floats) -> TextKind:
    height, width = pixels.shape[:2]
    if _URL.search(text.words):
        return "url"
    ground = _Ground(pixels, block, text.height)
    if ground.enclosed and ground.even:
        return "bubble" if ground.bright else "text"
    left, top, right, bottom = text.box
    x, y = (left + right) / 2 / width, (top + bottom) / 2 / height
    if min(x, 1 - x, y, 1 - y) <= EDGE and text.height <= SMALL * height:
        return "signature"
    return "bubble" if ground.even and ground.bright else "text"


def _is_pattern(words: str) -> bool:
    """Whether words are one sign again and again, or two that are upright strokes: what rows of things look like."""
    letters = [c for c in words.casefold() if c.isalnum() and ord(c) < _CJK]
    if len(letters) < LEAST_LETTERS or len(letters) < sum(map(str.isalnum, words)):
        return False
    return len(set(letters)) == 1 or (len(set(letters)) == 2 and _STROKES.issuperset(letters))


def _blocks(found: Sequence[Text]) -> list[Rect]:
    """For each line the box of all lines that go on above and below it, as in a speech bubble or on a sign."""
    homes = list(range(len(found)))
    for i, a in enumerate(found):
        for j, b in enumerate(found[:i]):
            if _go_on(a, b):
                homes = [homes[j] if home == homes[i] else home for home in homes]
    boxes: dict[int, list[Rect]] = {}
    for home, text in zip(homes, found, strict=True):
        boxes.setdefault(home, []).append(text.box)
    joined = {
        home: (min(b[0] for b in of), min(b[1] for b in of), max(b[2] for b in of), max(b[3] for b in of))
        for home, of in boxes.items()
    }
    return [joined[home] for home in homes]


def _go_on(a: Text, b: Text) -> bool:
    """Whether two lines of like height stand one above the other, less than a line apart."""
    high = max(a.height, b.height)
    apart = max(a.box[1], b.box[1]) - min(a.box[3], b.box[3])
    beside = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    return beside > 0 and apart <= _LINE_GAP * high and high <= 2 * min(a.height, b.height)


class _Ground:
    """What a block of text stands on: the colours in a ring close around it, and how they change farther out."""

    def __init__(self, pixels: Floats, block: Rect, letters: float) -> None:
        """Looks around a block [left, top, right, bottom] of letters of a height, in pixels [h, w, 3] of 0..255."""
        rings = [np.concatenate(_strips(pixels, block, letters / part)) for part in (4, 6, 12)]  # a sign has a frame
        ring = min(rings, key=lambda r: r.mean(axis=1).std() if len(r) else np.inf)
        self.even = len(ring) > 0 and bool(ring.mean(axis=1).std() <= EVEN)
        self.bright = len(ring) > 0 and bool(ring.mean() >= BRIGHT)
        self.enclosed = self.even and self._ends(pixels, block, letters, np.median(ring, axis=0)) >= 3

    @staticmethod
    def _ends(pixels: Floats, block: Rect, letters: float, colour: Floats) -> int:
        """On how many of the four sides another colour follows."""
        ends = [False] * 4
        for gap in np.linspace(0.5, _REACH, 6) * letters:
            for side, strip in enumerate(_strips(pixels, block, float(gap), whole=False)):
                other = np.abs(strip - colour).max(axis=1) > _OTHER
                ends[side] |= len(strip) > 0 and bool(other.mean() > 0.5)
        return sum(ends)


def _strips(pixels: Floats, block: Rect, gap: float, *, whole: bool = True) -> list[Floats]:
    """The pixels left, right, above and below a block at a distance, as long as its sides; empty beyond the image.

    With `whole` those beyond are drawn in to the edge of the image.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = (round(v) for v in block)
    x0, x1, y0, y1 = round(block[0] - gap), round(block[2] + gap), round(block[1] - gap), round(block[3] + gap)
    if whole:
        x0, x1, y0, y1 = max(0, x0), min(width - 1, x1), max(0, y0), min(height - 1, y1)
    down, across = slice(max(0, top), max(0, bottom)), slice(max(0, left), max(0, right))
    columns = [pixels[down, x] if 0 <= x < width else pixels[:0, 0] for x in (x0, x1)]
    rows = [pixels[y, across] if 0 <= y < height else pixels[0, :0] for y in (y0, y1)]
    return [*columns, *rows]


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
