"""Folders that no person made on purpose: pipes that look like images, names that are not text."""

from __future__ import annotations

import json
import os
import shutil
import sys

import pytest
from PIL import Image

from bakehouse.cli.main import main
from bakehouse.core.errors import UsageError
from bakehouse.core.files import read_json, write_json, write_text

posix = pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="needs pipes and names of bytes")


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (96, 64 + 16 * i), (80 * i, 0, 0)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"zwx person, hat {i}")

    def say(words: str, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as e:
            main(words.split())
        out, err = capsys.readouterr()
        assert (e.value.code or 0) == code, err
        return out, err

    return say


@posix
def test_pipes_named_like_images_and_captions_are_left_out(typed, tmp_path):
    os.mkfifo(tmp_path / "photos/pipe.png")
    os.mkfifo(tmp_path / "photos/0.caption")
    reason = "it is a pipe, a socket or a device, not a file"
    assert f"pipe.png: left out, {reason}" in " ".join(typed("plan photos --subject zwx")[1].split())
    for words in ("dataset convert photos --dry-run", "dataset import photos -o set"):
        assert f"pipe.png: {reason}" in " ".join(typed(words)[1].split())
    assert "0.caption" in typed("captions stats photos")[0] + typed("captions stats photos")[1]
    typed("dataset audit photos --no-faces --no-text", code=1)
    typed("dataset tidy photos")
    assert (tmp_path / "photos/pipe.png").exists()
    assert reason in typed("dataset import photos/pipe.png -o other", code=2)[1]


@posix
def test_names_cannot_turn_the_writing_of_a_page_around(typed, tmp_path):
    shutil.copy(tmp_path / "photos/0.png", tmp_path / "photos/\u202egnp.exe.png")
    typed("dataset audit photos --html audit.html --no-faces --no-text", code=1)
    typed("dataset bucket photos --preview buckets.html")
    typed("dataset square photos --preview square.html")
    for name in ("audit", "buckets", "square"):
        page = (tmp_path / f"{name}.html").read_text("utf-8")
        assert "\u202e" not in page and r"\u202egnp.exe.png" in page


@posix
def test_names_that_are_not_utf8_reach_pages_and_json(typed, tmp_path):
    folder = os.fsencode(tmp_path / "photos")
    shutil.copy(tmp_path / "photos/0.png", folder + b"/bad\xff.png")
    typed("dataset audit photos --html audit.html --no-faces --no-text", code=1)
    typed("dataset bucket photos --preview buckets.html")
    typed("dataset square photos --preview square.html")
    pages = [(tmp_path / f"{name}.html").read_text("utf-8") for name in ("audit", "buckets", "square")]
    assert all(r"bad\udcff.png" in page for page in pages)
    found = json.loads(typed("dataset bucket photos --json")[0])
    assert "bad\udcff.png" in json.dumps(found, ensure_ascii=False)
    assert read_json(write_json(tmp_path / "a.json", {"name": "bad\udcff"})) == {"name": "bad\udcff"}
    with pytest.raises(UsageError, match=r"not valid UTF-8: folder = .*\\udcff"):
        write_text(tmp_path / "a.toml", 'folder = "bad\udcff"\n')
