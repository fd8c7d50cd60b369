"""Detect and read text in images, and classify it: URL, watermark, signature, speech bubble or other text."""

from __future__ import annotations

import math
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

MIN_CONFIDENCE = 0.6
"""Least confidence of recognized text."""
MIN_LETTERS = 3
"""Fewest letters of a text: OCR reads lashes, teeth and crossed lines as one or two. A CJK letter counts twice."""
DETECTOR_SIDE = 736
"""Pixels to which PP-OCR enlarges the shorter side of an image."""
STRIP = 4
"""An image longer than this many times its shorter side is read in parts."""
SAME_LINE = 0.6
"""A line is another part's if it shares this much of its area with a larger one."""
SIGNATURE_MARGIN = 0.15
"""Largest distance of a signature's centre from an edge, as a share of the side."""
SIGNATURE_HEIGHT = 0.08
"""Largest letter height of a signature, as a share of the image's height."""
_CJK = 0x2E80
_STROKES = frozenset("mnwuvil1ot0")
"""Letters that OCR reads in rows of rings, tiles, windows and railings."""
BRIGHT, EVEN = 225.0, 12.0
"""Background of a speech bubble: least mean and largest deviation of grey levels (0..255) around the text."""
_LINE_GAP = 0.9
"""Largest gap between the lines of a block, in letter heights."""
_REACH, _OTHER = 3, 40.0
"""A sign or bubble ends within this many letter heights, where colours differ by at least this much (of 255)."""
SAME_PLACE, SAME_WORDS, SHARE, LEAST = 0.5, 0.7, 0.10, 3
"""A watermark: least box overlap (IoU), text similarity, share of the images, and number of images."""

_SITE_NAMES = (
    "pixiv", "fanbox", "patreon", "twitter", "instagram", "deviantart", "tumblr", "artstation", "facebook", "weibo",
    "subscribestar", "gumroad", "shutterstock", "gettyimages", "alamy", "dreamstime", "adobestock", "copyright",
    "repost", "commission",
)  # fmt: skip
_URL = re.compile(
    r"https?:|www\.|\w\.(com|net|org|jp|io|me|tv|co|art|cn|ru|de|uk|moe)\b|^@\w|\s@\w|©|\(c\)|®|™|"
    + "|".join(_SITE_NAMES),
    re.IGNORECASE,
)


@dataclass(frozen=True)
class TextRegion:
    """One line of text in an image."""

    corners: tuple[Point, ...]
    """The four corners in pixels, clockwise."""
    text: str
    score: float
    """Confidence of the recognition, 0..1."""
    kind: TextKind = "text"

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        xs, ys = zip(*self.corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def height(self) -> float:
        """Letter height in pixels: the shorter side."""
        a, b, c, _ = (np.array(corner) for corner in self.corners)
        return float(min(np.linalg.norm(b - a), np.linalg.norm(c - b)))

    def __str__(self) -> str:
        words = self.text if len(self.text) <= 24 else f"{self.text[:23]}…"
        return f"{self.kind} {words!r}"


class TextDetector(Protocol):
    """Detects text in an upright RGB image."""

    def __call__(self, image: Image.Image) -> list[TextRegion]:
        """Return every line of text, not classified yet (kind `text`)."""
        ...


class RapidOcrDetector:
    """PP-OCR from the package rapidocr, which includes the networks."""

    def __init__(self) -> None:
        """Load the networks.

        Raises:
            UsageError: rapidocr is missing.
        """
        library = import_optional("rapidocr", "detecting text")
        self._read: Any = library.RapidOCR(params={"Global.log_level": "critical"})
        self._lock = threading.Lock()

    def __call__(self, image: Image.Image) -> list[TextRegion]:
        """Return every line of text, not classified yet."""
        pixels = np.asarray(image.convert("RGB"))[..., ::-1]
        parts = strip_parts(image.size)
        lines = [line for left, top, size in parts for line in self._lines_of(pixels, left, top, size)]
        return lines if len(parts) == 1 else _each_once(lines)

    def _lines_of(self, pixels: npt.NDArray[np.uint8], left: int, top: int, size: tuple[int, int]) -> list[TextRegion]:
        part = pixels[top : top + size[1], left : left + size[0]]
        if part.shape != pixels.shape:
            # A part of a thin strip is not enlarged: its letters are as large as those of any image of its length.
            missing = [max(0, DETECTOR_SIDE - side) for side in part.shape[:2]]
            part = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        with self._lock:
            found = self._read(np.ascontiguousarray(part), use_cls=False)
        if found.boxes is None or found.txts is None:
            return []
        lines = zip(found.boxes, found.txts, found.scores, strict=True)
        return [
            _line(np.add(box, (left, top)), words, score)
            for box, words, score in lines
            if score >= MIN_CONFIDENCE and is_long_enough(str(words))
        ]


def strip_parts(size: tuple[int, int]) -> list[tuple[int, int, tuple[int, int]]]:
    """Return the parts in which an image is read: left, top, and width and height in pixels.

    A strip, such as a page of a webtoon, is read in parts that overlap by a quarter. As a whole it would first be
    reduced until its letters are lost, and then enlarged until its shorter side has `DETECTOR_SIDE` pixels.
    """
    short, long = sorted(size)
    if long <= STRIP * short:
        return [(0, 0, size)]
    length = max(STRIP * short, DETECTOR_SIDE)
    count = max(1, math.ceil((long - length) / (0.75 * length)) + 1)
    starts = [round(i * max(0, long - length) / max(1, count - 1)) for i in range(count)]
    if size[0] == long:
        return [(start, 0, (min(length, long), short)) for start in starts]
    return [(0, start, (short, min(length, long))) for start in starts]


def _each_once(lines: Sequence[TextRegion]) -> list[TextRegion]:
    """Leave out lines that lie in another one: what two parts show is found twice, or cut off in one of them."""
    kept: list[TextRegion] = []
    for line in sorted(lines, key=lambda line: _area(line.box), reverse=True):
        if all(_shared(line.box, other.box) < SAME_LINE * _area(line.box) for other in kept):
            kept.append(line)
    return sorted(kept, key=lambda line: line.box[1::-1])


def is_long_enough(words: str) -> bool:
    """Return whether recognized text is long enough to be reliable."""
    return sum(2 if ord(c) >= _CJK else 1 for c in words if c.isalnum()) >= MIN_LETTERS


def _line(box: Any, words: str, score: float) -> TextRegion:
    corners = tuple((float(x), float(y)) for x, y in np.asarray(box))
    return TextRegion(corners, str(words).strip(), float(score))


def classify_text(found: Sequence[TextRegion], image: Image.Image) -> list[TextRegion]:
    """Classify the lines of one image by their text, position and background.

    Patterns that OCR reads as letters (`mmmm` for a ring binding, `AAA` for roofs) are left out.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    kinds = [
        replace(text, kind=_classify(text, block, pixels)) for text, block in zip(found, _blocks(found), strict=True)
    ]
    return [text for text in kinds if text.kind == "bubble" or not _is_pattern(text.text)]


def _classify(text: TextRegion, block: Rect, pixels: Floats) -> TextKind:
    height, width = pixels.shape[:2]
    if _URL.search(text.text):
        return "url"
    ground = _Background(pixels, block, text.height)
    if ground.enclosed and ground.even:
        return "bubble" if ground.bright else "text"
    left, top, right, bottom = text.box
    x, y = (left + right) / 2 / width, (top + bottom) / 2 / height
    if min(x, 1 - x, y, 1 - y) <= SIGNATURE_MARGIN and text.height <= SIGNATURE_HEIGHT * height:
        return "signature"
    return "bubble" if ground.even and ground.bright else "text"


def _is_pattern(words: str) -> bool:
    """Return whether a text repeats one letter, or two stroke-like ones, as OCR reads rows of similar shapes."""
    letters = [c for c in words.casefold() if c.isalnum() and ord(c) < _CJK]
    if len(letters) < MIN_LETTERS or len(letters) < sum(map(str.isalnum, words)):
        return False
    return len(set(letters)) == 1 or (len(set(letters)) == 2 and _STROKES.issuperset(letters))


def _blocks(found: Sequence[TextRegion]) -> list[Rect]:
    """Return for each line the box of its block: all consecutive lines, as in a speech bubble or on a sign."""
    homes = list(range(len(found)))
    for i, a in enumerate(found):
        for j, b in enumerate(found[:i]):
            if _are_consecutive(a, b):
                homes = [homes[j] if home == homes[i] else home for home in homes]
    boxes: dict[int, list[Rect]] = {}
    for home, text in zip(homes, found, strict=True):
        boxes.setdefault(home, []).append(text.box)
    joined = {
        home: (min(b[0] for b in of), min(b[1] for b in of), max(b[2] for b in of), max(b[3] for b in of))
        for home, of in boxes.items()
    }
    return [joined[home] for home in homes]


def _are_consecutive(a: TextRegion, b: TextRegion) -> bool:
    """Return whether two lines of similar height are one above the other with less than a line between them."""
    high = max(a.height, b.height)
    apart = max(a.box[1], b.box[1]) - min(a.box[3], b.box[3])
    beside = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    return beside > 0 and apart <= _LINE_GAP * high and high <= 2 * min(a.height, b.height)


class _Background:
    """The background of a block of text: its colours close around the block, and whether they end farther out."""

    def __init__(self, pixels: Floats, block: Rect, letters: float) -> None:
        """Measure around a block [left, top, right, bottom] with letter height `letters`; pixels [h, w, 3], 0..255."""
        rings = [np.concatenate(_strips(pixels, block, letters / part)) for part in (4, 6, 12)]  # signs have frames
        ring = min(rings, key=lambda r: r.mean(axis=1).std() if len(r) else np.inf)
        self.even = len(ring) > 0 and bool(ring.mean(axis=1).std() <= EVEN)
        self.bright = len(ring) > 0 and bool(ring.mean() >= BRIGHT)
        self.enclosed = self.even and self._ends(pixels, block, letters, np.median(ring, axis=0)) >= 3

    @staticmethod
    def _ends(pixels: Floats, block: Rect, letters: float, colour: Floats) -> int:
        """Return on how many of the four sides another colour follows."""
        ends = [False] * 4
        for gap in np.linspace(0.5, _REACH, 6) * letters:
            for side, strip in enumerate(_strips(pixels, block, float(gap), whole=False)):
                other = np.abs(strip - colour).max(axis=1) > _OTHER
                ends[side] |= len(strip) > 0 and bool(other.mean() > 0.5)
        return sum(ends)


def _strips(pixels: Floats, block: Rect, gap: float, *, whole: bool = True) -> list[Floats]:
    """Return lines of pixels left, right, above and below a block at a distance; empty outside of the image.

    With `whole`, lines outside of the image are moved to its edge.
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


def mark_watermarks(
    found: Mapping[int, Sequence[TextRegion]], sizes: Sequence[tuple[int, int]]
) -> dict[int, list[TextRegion]]:
    """Return the lines of all images; similar text in the same place of many images is classified as watermark.

    Args:
        found: lines by the number of their image.
        sizes: width and height of each image.
    """
    flat = [(i, text, _relative(text, sizes[i])) for i, lines in found.items() for text in lines]
    needed = max(LEAST, int(SHARE * len(sizes)) + 1)
    result: dict[int, list[TextRegion]] = {i: [] for i in found}
    for i, text, place in flat:
        others = {
            j
            for j, other, there in flat
            if j != i and _overlap(place, there) >= SAME_PLACE and _similar_words(text, other)
        }
        is_mark = len(others) + 1 >= needed and text.kind in ("text", "signature")
        result[i].append(replace(text, kind="watermark") if is_mark else text)
    return result


def _relative(text: TextRegion, size: tuple[int, int]) -> tuple[float, float, float, float]:
    left, top, right, bottom = text.box
    return left / size[0], top / size[1], right / size[0], bottom / size[1]


def _overlap(a: Rect, b: Rect) -> float:
    """Return the intersection over union of two boxes."""
    shared = _shared(a, b)
    return shared / max(_area(a) + _area(b) - shared, 1e-9)


def _shared(a: Rect, b: Rect) -> float:
    """Return the area that two boxes share."""
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return across * down


def _area(box: Rect) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _similar_words(a: TextRegion, b: TextRegion) -> bool:
    return SequenceMatcher(None, a.text.lower(), b.text.lower()).ratio() >= SAME_WORDS
