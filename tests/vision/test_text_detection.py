"""Text in long strips: read in parts, each line once, in the image's own coordinates."""

from __future__ import annotations

import threading
from itertools import pairwise
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from bakehouse.vision.text_detection import DETECTOR_SIDE, RapidOcrDetector, strip_parts

RED = (255, 0, 0)


class RedBoxes:
    """Stands in for PP-OCR: a line of text is a red rectangle."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, pixels: np.ndarray, use_cls: bool) -> SimpleNamespace:
        self.sizes.append(pixels.shape[1::-1])
        red = (pixels == RED[::-1]).all(axis=2).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(red)
        boxes = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, y, w, h, _ in stats[1:]]
        return SimpleNamespace(boxes=boxes, txts=["a line"] * len(boxes), scores=[0.9] * len(boxes))


@pytest.fixture
def detector() -> RapidOcrDetector:
    made = RapidOcrDetector.__new__(RapidOcrDetector)
    made._read, made._lock = RedBoxes(), threading.Lock()
    return made


@pytest.mark.parametrize("size", [(96, 9856), (9856, 96), (500, 2001), (300, 1201)])
def test_a_strip_is_read_in_parts_and_each_line_is_found_once(
    detector: RapidOcrDetector, size: tuple[int, int]
) -> None:
    image = Image.new("RGB", size, "gray")
    long = int(size[1] > size[0])
    wanted = []
    for at in range(20, max(size) - 60, 131):
        box = [10, 10, 50, 26]
        box[long], box[long + 2] = at, at + (box[long + 2] - 10)
        image.paste(RED, (box[0], box[1], box[2], box[3]))
        wanted.append(tuple(box))
    found = [tuple(round(v) for v in line.box) for line in detector(image)]
    assert sorted(found) == sorted(wanted)
    for width, height in detector._read.sizes:
        assert max(width, height) <= max(4 * min(size), DETECTOR_SIDE) and min(width, height) >= min(*size)


def test_other_images_are_read_whole(detector: RapidOcrDetector) -> None:
    detector(Image.new("RGB", (100, 400)))
    assert detector._read.sizes == [(100, 400)]


@pytest.mark.parametrize("size", [(1, 5), (3, 2000), (90, 361), (800, 20000)])
def test_parts_cover_a_strip_and_overlap(size: tuple[int, int]) -> None:
    ends = [(top, top + height) for _, top, (_, height) in strip_parts(size)]
    assert ends[0][0] == 0 and ends[-1][1] == size[1]
    assert all(after[0] < before[1] for before, after in pairwise(ends))
