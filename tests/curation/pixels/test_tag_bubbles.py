"""Speech bubbles that cannot be painted over are named in captions, and `undo` takes the names back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bakehouse.cli.main import main
from bakehouse.core.events import Warned
from bakehouse.curation.clean import Clean, TextRegion
from bakehouse.curation.clean.fill_text import VISIBLE_ERROR, fill_error
from bakehouse.curation.clean.tag_bubbles import tagged_caption
from bakehouse.curation.operation import apply_operation
from bakehouse.data import scan

SIZE = (200, 160)


def bubble(words: str) -> TextRegion:
    return TextRegion(((70, 70), (130, 70), (130, 86), (70, 86)), words, 0.99)


def run(*words: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code in (0, None)


def drawing() -> Image.Image:
    """A narrow white bubble with black letters on noise: a fill of the letters' shape beside it would be visible."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8))
    draw = ImageDraw.Draw(image)
    draw.rectangle((66, 66, 134, 90), fill="white")
    for left in range(74, 126, 8):
        draw.rectangle((left, 71, left + 3, 85), fill="black")
    return image


@pytest.fixture
def read(monkeypatch, tmp_path):
    """A folder with one drawing, in which these words are read; captions by ending."""

    def make(words: str, **captions: str):
        reader = lambda: lambda image: [bubble(words)]  # noqa: E731
        monkeypatch.setattr("bakehouse.curation.clean.clean.RapidOcrDetector", reader)
        drawing().save(tmp_path / "page.jpg", quality=100)
        for ending, text in captions.items():
            (tmp_path / f"page.{ending}").write_text(text, encoding="utf-8")
        return tmp_path

    return make


def test_the_drawing_is_one_that_cannot_be_painted_over():
    assert fill_error(drawing(), bubble("hello")) >= VISIBLE_ERROR


@pytest.mark.parametrize(
    ("words", "caption", "after"),
    [
        ("hello", "1girl, red_hair, long_hair", "1girl, red_hair, long_hair, speech_bubble"),
        ("so sweet♥", "1girl, red hair", "1girl, red hair, speech bubble, spoken heart"),
        ("so sweet♥", "speech bubble, 1girl", "speech bubble, 1girl, spoken heart"),
    ],
)
def test_a_caption_names_the_bubble_and_undo_takes_it_back(read, words, caption, after, capsys):
    folder = read(words, txt=f"{caption}\n")
    picture = (folder / "page.jpg").read_bytes()
    run("dataset", "clean", str(folder), "--inpainter", "none")
    assert "cannot be painted over; caption tagged" in capsys.readouterr().out
    assert (folder / "page.txt").read_text("utf-8") == f"{after}\n"
    assert (folder / "page.jpg").read_bytes() == picture, "the image is not written again"
    told = []
    assert apply_operation(folder, Clean(inpainter="none"), on_event=told.append) is None
    assert not any(isinstance(event, Warned) for event in told), "a tagged bubble is dealt with"
    run("dataset", "undo", str(folder))
    assert (folder / "page.txt").read_text("utf-8") == f"{caption}\n"


def test_raw_tags_and_every_line_are_tagged(read):
    folder = read("hello", txt="zwx person, smile\nzwx person\n", tags="red hair, smile\n")
    assert apply_operation(folder, Clean(inpainter="none")) is not None
    assert (folder / "page.txt").read_text("utf-8") == "zwx person, smile, speech bubble\nzwx person, speech bubble\n"
    assert (folder / "page.tags").read_text("utf-8") == "red hair, smile, speech bubble\n"


def test_a_json_caption_gives_way_to_a_text_file(read):
    folder = read("hello", json=json.dumps({"caption": "1girl"}))
    assert apply_operation(folder, Clean(inpainter="none")) is not None
    assert [record.captions for record in scan(folder)] == [("1girl, speech bubble",)]


@pytest.mark.parametrize("case", ["no caption", "switched off", "not a bubble", "shared caption"])
def test_what_is_not_tagged_is_named(read, case, monkeypatch):
    folder = read(
        "www.site.com" if case == "not a bubble" else "hello", **({} if case == "no caption" else {"txt": "1girl\n"})
    )
    if case == "shared caption":
        Image.new("RGB", (32, 32), "red").save(folder / "page.png")
        monkeypatch.setattr(
            "bakehouse.curation.clean.clean.RapidOcrDetector",
            lambda: lambda image: [bubble("hello")] if image.size == SIZE else [],
        )
    told = []
    step = apply_operation(folder, Clean(inpainter="none", tag_bubbles=case != "switched off"), on_event=told.append)
    assert step is None
    (warning,) = [event.message for event in told if isinstance(event, Warned)]
    assert warning.startswith("page.jpg: ") and "kept, because" in warning
    assert (folder / "page.txt").exists() == (case != "no caption")


def test_a_tagged_caption_stays():
    assert tagged_caption("a, speech_bubble", ("speech bubble",)) == "a, speech_bubble"
    assert tagged_caption("A girl says hello.", ("speech bubble",)) == "A girl says hello, speech bubble"


def test_the_audit_counts_a_tagged_bubble_as_dealt_with():
    from bakehouse.audit.pixel_checks import _is_tagged_bubble

    class Facts:
        captions = ("1girl, Speech_Bubble",)
        busy_texts = frozenset({bubble("hello").box})

    text = replace(bubble("hello"), kind="bubble")
    assert _is_tagged_bubble(text, Facts())
    assert not _is_tagged_bubble(replace(text, kind="url"), Facts())
    Facts.captions = ("1girl",)
    assert not _is_tagged_bubble(text, Facts())
    Facts.captions, Facts.busy_texts = ("speech bubble",), frozenset()
    assert not _is_tagged_bubble(text, Facts()), "clean can paint over this one"
