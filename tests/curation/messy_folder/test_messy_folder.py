"""docs/walkthrough.md, command by command: its output, the files it leaves, and undoing all of it."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from bakehouse.cli.main import main
from bakehouse.curation.apply_and_undo import HISTORY_FOLDER, read_history
from bakehouse.curation.crops import crop as crops
from bakehouse.curation.dedupe import dedupe as dedupe
from bakehouse.data import open_image, scan
from bakehouse.vision.faces import Face
from tests.pages import ROOT, cheaper

pytest.importorskip("cv2", reason="needs OpenCV, of the extra dev")
pytest.importorskip("rapidocr", reason="needs rapidocr, of the extra dev")

from tests.curation.messy_folder import web_page_reader
from tools.make_messy_folder import APPEARANCE, EXAMPLES, make

PAGE = (ROOT / "docs" / "walkthrough.md").read_text("utf-8")
THERE, _, BACK = PAGE.partition("## Undo")
BLOCK = re.compile(r"(<!-- .+? -->\n)?```(console|text|toml)\n(.*?)```", re.DOTALL)
_FIGURE = re.compile(r"\d+\.\d+")

Files = dict[str, tuple[bytes, int]]
"""Content and age of each file by its path."""


def look(folder: Path) -> Files:
    paths = [p for p in folder.rglob("*") if p.is_file() and HISTORY_FOLDER not in p.parts]
    return {p.relative_to(folder).as_posix(): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(paths)}


def typed(line: str, code: int = 0) -> str:
    """Runs a command in this process; all that it says."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as e:
        main(cheaper(line)[1:])
    assert (e.value.code or 0) == code, f"{line}\n{said.getvalue()}"
    return said.getvalue()


@dataclass(frozen=True)
class Walked:
    """One command of the page."""

    line: str
    said: str
    before: Files
    after: Files

    @property
    def changed(self) -> set[str]:
        """Paths that hold something else than before."""
        before, after = ({name: data for name, (data, _) in f.items()} for f in (self.before, self.after))
        return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@dataclass(frozen=True)
class Walk:
    """The page from its beginning to the training, and where it was walked."""

    place: Path
    heap: Files
    steps: list[Walked]
    blocks: list[tuple[str, list[str]]]
    """What commands said, and the lines that the page shows of it."""

    def changed_by(self, verb: str) -> set[str]:
        (step,) = [step for step in self.steps if f" {verb} " in step.line]
        return step.changed


def walked(place: Path, text: str) -> Iterator[tuple[list[Walked], list[str]]]:
    """Does what a part of the page says; gives commands and the lines that are shown of what they say."""
    done: list[Walked] = []
    for reason, kind, block in BLOCK.findall(text):
        if kind == "toml":
            (place / block.split()[1]).write_text(block, "utf-8")
        if reason:
            continue
        if kind == "text":
            yield done, block.splitlines()
            done = []
        if kind == "console":
            for line in block.splitlines():
                before, first_look = look(place / "set"), "audit" in line and "--vocabulary" not in line
                said = typed(line, code=1 if first_look else 0)
                done.append(Walked(line, said, before, look(place / "set")))
    yield done, []


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Walks along the page; the last part, which takes everything back, is left to a test."""
    place = tmp_path_factory.mktemp("downloads")
    heap = look(make(place / "downloads"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "DATA"):
            patch.setenv(f"BAKEHOUSE_{name}", str(place / name.lower()))
        patch.chdir(place)
        patch.setattr("bakehouse.vision.text_detection.RapidOcrDetector.__init__", lambda self: None)
        patch.setattr(
            "bakehouse.vision.text_detection.RapidOcrDetector.__call__", lambda self, image: web_page_reader.read(image)
        )
        dedupe._text_detector.cache_clear()
        parts = list(walked(place, THERE))
        blocks = [("".join(step.said for step in steps), shown) for steps, shown in parts]
        yield Walk(place, heap, [step for steps, _ in parts for step in steps], blocks)
    dedupe._text_detector.cache_clear()


@pytest.fixture
def copy(walk, tmp_path, monkeypatch):
    """Where the set may be changed: a copy with its history, as old."""
    shutil.copytree(walk.place / "set", tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "set"


def original(number: int) -> np.ndarray:
    return pixels(EXAMPLES / "mira" / f"{number:02d}.png")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(open_image(path), dtype=np.float32)


def in_order(shown: list[str], said: str) -> str:
    """The first line that is shown and not said behind those before it; empty if there is none.

    Measured figures may be others on another machine or with another decoder.
    """
    lines = (_FIGURE.sub("#", line.rstrip()) for line in said.splitlines())
    return next((line for line in shown if line != "..." and _FIGURE.sub("#", line.rstrip()) not in lines), "")


# --- what is said


def test_the_page_shows_what_is_said(walk):
    assert sum(len(shown) for _, shown in walk.blocks) > 30
    for said, shown in walk.blocks:
        assert not in_order(shown, said), said


def test_an_image_and_its_caption_are_one_line(walk):
    (convert,) = [step for step in walk.steps if " convert " in step.line]
    (compiled,) = [step for step in walk.steps if " compile " in step.line]
    assert convert.said.count("not PNG") == 4
    assert compiled.said.count("no tag omitted") == 12
    assert not re.search(r"\.tags ", compiled.said)


# --- what is kept, dropped, mended


def test_all_that_is_a_picture_comes_with_its_caption(walk):
    came = walk.changed_by("import")
    frames = {f"clip/clip-000{n + 1}-{16 * n:07d}.png" for n in range(3)}
    assert came == {name for name in walk.heap if name not in ("404.jpg", "Thumbs.db", "clip.mp4")} | frames
    after = walk.steps[0].after
    same = [name for name in came - frames if name != "5417803.txt"]
    assert all(after[name][0] == walk.heap[name][0] for name in same)
    assert after["5417803.txt"][0] == b"rolling eyes, tongue out, raised eyebrows, blue background, close-up"
    for frame, number in zip(sorted(frames), (13, 15, 16), strict=True):
        picture = np.asarray(Image.open(io.BytesIO(after[frame][0])).convert("RGB"), dtype=np.float32)
        assert np.abs(picture - original(number)).mean() < 6


def test_what_each_step_changes(walk):
    # The copies, and where their captions were and went. The other expression stays.
    assert walk.changed_by("dedupe") == {
        "mira (1).png", "snow_preview.jpg", "snow_preview.txt", "snow.txt", "sunset.png", "sunset.txt",
        "sunset-clean.txt",
    }  # fmt: skip
    assert walk.changed_by("convert") == {
        f"{stem}{ending}"
        for stem, old in {"5417803": ".jpg", "forest": ".webp", "IMG_0002": ".JPG", "sunset-clean": ".jpg"}.items()
        for ending in (old, ".png")
    }
    assert walk.changed_by("trim") == {"screenshot.png"}
    assert walk.changed_by("clean") == {"beige.png", "meadow.png"}
    assert walk.changed_by("flatten") == {"cutout.png"}
    assert walk.changed_by("edit") == {"5417803.txt", "cutout.txt", "forest.txt", "IMG_0002.txt", "night.txt"}
    frames = {f"clip/clip-000{n + 1}-{16 * n:07d}" for n in range(3)}
    assert walk.changed_by("tag") == {f"{frame}.txt" for frame in frames}
    left = {n for n in walk.steps[-1].after if n.endswith(".png")}
    assert len(left) == 15
    assert {n for n in walk.changed_by("compile") if n.endswith(".tags")} == {f"{n[:-4]}.tags" for n in left}
    looks = ("audit", "explain", "plan", "train")
    assert not [s.line for s in walk.steps if any(f" {verb} " in s.line for verb in looks) and s.changed]


def test_pictures_are_mended(walk):
    place = walk.place / "set"
    for name, number in {"mira": 1, "forest": 3, "night": 4, "screenshot": 6, "snow": 8}.items():
        assert (pixels(place / f"{name}.png") == original(number)).all(), name
    for name, number in {"IMG_0002": 2, "5417803": 5, "sunset-clean": 12}.items():
        assert np.abs(pixels(place / f"{name}.png") - original(number)).mean() < 4, name
    # Nothing is seen of the marks, and next to them nothing was touched.
    for name, number in {"meadow": 10, "beige": 14}.items():
        off = np.abs(pixels(place / f"{name}.png") - original(number)).max(axis=2)
        assert off.max() < 12, name
        assert (off[60:] == 0).all(), name
    cut, whole = pixels(place / "cutout.png"), original(11)
    ground = (whole == whole[2, 2]).all(axis=2)
    assert (cut[ground] == 255).all()
    assert (cut[~ground] == whole[~ground]).all()


def test_captions_are_one_encoding_and_speak_alike(walk):
    images = scan(walk.place / "set")
    assert not [note for note in images.notes if "caption" in note]
    assert {r.path.stem: r.captions for r in images} == {
        "5417803": ("zwx person, rolling eyes, tongue out, raised eyebrows, blue background, close-up",),
        "IMG_0002": ("zwx person, rolling eyes, slight smile, angry, at the beach, portrait",),
        "beige": ("zwx person, squinting, smile, angry, beige background, from afar",),
        "cutout": ("zwx person, squinting, sad, angry, portrait, white background",),
        "forest": ("zwx person, looking aside, sad, worried, in a forest, close-up",),
        "meadow": ("zwx person, slight smile, in a meadow, from afar",),
        "mira": ("zwx person, rolling eyes, big smile, worried, teal background, portrait",),
        "mira-serious": ("zwx person, rolling eyes, serious, worried, teal background, portrait",),
        "night": ("zwx person, looking aside, serious, at night, portrait",),
        "screenshot": ("zwx person, looking aside, smile, in the city, from afar",),
        "snow": ("zwx person, rolling eyes, grimace, angry, in the snow, portrait",),
        "sunset-clean": ("zwx person, serious, worried, at sunset, portrait",),
        "clip-0001-0000000": ("zwx person, big smile, in the desert, close-up",),
        "clip-0002-0000016": ("zwx person, screaming, pink and sky blue gradient background, portrait",),
        "clip-0003-0000032": ("zwx person, grimace, in outer space, close-up",),
    }
    raw = (walk.place / "set" / "clip" / "clip-0001-0000000.tags").read_text("utf-8")
    assert all(tag in raw for tag in APPEARANCE)


def test_the_last_audit_finds_no_error(walk):
    first, last = (step.said for step in walk.steps if " audit " in step.line)
    assert "18 images: 2 errors" in first
    assert "15 images: 0 errors" in last


def test_it_is_trained(walk):
    (weights,) = (walk.place / "runs" / "mira" / "weights").glob("*.safetensors")
    assert any(np.abs(t).max() > 0 for name, t in load_file(weights).items() if "lora_up" in name)
    (train,) = [step for step in walk.steps if " train " in step.line]
    assert "finished: 2 steps" in train.said


# --- closer pictures, with a finder that knows Mira


def test_crops_are_made_of_figures_far_away_and_go_again(copy, monkeypatch):
    def finder(image: Image.Image) -> list[Face]:
        """A face is about half as wide again as the eyepatch and its strap, which have a colour of their own."""
        patch = (np.abs(np.asarray(image.convert("RGB"), np.int16) - (41, 53, 77)).max(axis=2) < 6).nonzero()
        top, left, bottom, right = (*(int(v.min()) for v in patch), *(int(v.max()) for v in patch))
        return [Face((left, top, left + 1.3 * (right - left), top + 1.5 * (bottom - top)), 1.0)]

    monkeypatch.setattr(crops, "load_face_detector", lambda *_: finder)
    before = look(copy)
    typed("bakehouse dataset crop set --resolution 128")
    made = {n: data for n, (data, _) in look(copy).items() if n not in before}
    assert {"meadow-portrait.png", "meadow-portrait.txt", "beige-portrait.png", "screenshot-portrait.png"} < made.keys()
    assert not any("forest" in name for name in made), "a face that fills the picture has no closer one"
    assert made["meadow-portrait.txt"] == b"zwx person, slight smile, in a meadow, portrait\n"
    assert min(Image.open(io.BytesIO(made["meadow-portrait.png"])).size) >= 128 / 1.3
    typed("bakehouse dataset undo set")
    assert look(copy) == before


# --- and back


def test_every_step_comes_back_byte_for_byte_and_as_old(walk, copy):
    made = [step for step in walk.steps if step.changed]
    assert len(made) == len(read_history(copy)) == 9
    for step in reversed(made):
        assert look(copy) == step.after, step.line
        typed("bakehouse dataset undo set")
        assert look(copy) == step.before, step.line
    assert look(copy) == {}
    assert look(walk.place / "downloads") == walk.heap


def test_the_page_goes_back_at_once(walk, copy):
    for steps, shown in walked(copy.parent, BACK):
        assert not in_order(shown, "".join(step.said for step in steps))
    assert look(copy) == {}
