"""The stand-in for the reader of text says of the heap what the reader says."""

from __future__ import annotations

import pytest

from bakehouse.data import open_image
from bakehouse.vision.text_detection import RapidOcrDetector, classify_text

pytest.importorskip("cv2", reason="needs OpenCV, of the extra dev")
pytest.importorskip("rapidocr", reason="needs rapidocr, of the extra dev")

from tests.curation.messy_folder import web_page_reader
from tools.make_messy_folder import make


def test_the_reader_finds_the_marks_where_the_stand_in_does(tmp_path):
    heap, real = make(tmp_path / "heap"), RapidOcrDetector()
    for name, words in {"beige": "heaps.example.com", "sunset": "heap.art", "meadow": "SAMPLE"}.items():
        image = open_image(heap / f"{name}.png")
        (found,), (expected,) = (classify_text(read(image), image) for read in (real, web_page_reader.read))
        assert (found.text, found.kind) == (expected.text, expected.kind) == (words, expected.kind)
        assert max(abs(a - b) for a, b in zip(found.box, expected.box, strict=True)) < 8
    assert web_page_reader.read(open_image(heap / "snow.png")) == []
