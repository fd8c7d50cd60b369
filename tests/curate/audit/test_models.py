"""Findings whose mends need a network: found, mended, gone, with stand-ins for the networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bakehouse.curate.audit import AuditSpec, audit
from bakehouse.curate.clean.text import Text
from bakehouse.curate.faces import Face
from bakehouse.curate.masks.matte import Matte
from bakehouse.curate.upscale import Upscale
from tests.curate.audit import make
from tests.curate.audit.test_checks import SPEC, ZWX, run

FACE, INK = (255, 0, 255), (0, 255, 0)


def marked(image: Image.Image, colour) -> list[tuple[int, int, int, int]]:
    """Boxes of the left and the right half that hold pixels of exactly this colour, the larger one first."""
    hits = (np.asarray(image.convert("RGB")) == colour).all(2)
    half = image.width // 2
    found = []
    for offset, part in ((0, hits[:, :half]), (half, hits[:, half:])):
        ys, xs = np.nonzero(part)
        if len(ys) > 8:
            found.append((int(xs.min()) + offset, int(ys.min()), int(xs.max()) + offset + 1, int(ys.max()) + 1))
    return sorted(found, key=lambda box: -(box[3] - box[1]))


def corners(box):
    left, top, right, bottom = box
    return (left, top), (right, top), (right, bottom), (left, bottom)


def checked(image: Image.Image, box, colour) -> None:
    """A fine pattern, of which a blur leaves nothing."""
    draw = ImageDraw.Draw(image)
    for y in range(box[1], box[3]):
        for x in range(box[0] + y % 2, box[2], 2):
            draw.point((x, y), fill=colour)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A clean set on a machine whose networks see magenta faces and green letters."""
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))

    def faces(image):
        return [Face(box, 0.9) for box in marked(image, FACE)]

    def lines(image):
        return [Text(corners(box), "www.example.com", 0.99) for box in marked(image, INK)]

    for room in ("audit.finders", "crops.verb", "clean.verb"):
        monkeypatch.setattr(f"bakehouse.curate.{room}.open_finder", lambda *_: faces)
    for room in ("audit.finders", "clean.verb"):
        monkeypatch.setattr(f"bakehouse.curate.{room}.RapidText", lambda: lines)
    return make.clean_set(tmp_path / "photos")


def ids(folder: Path, **spec) -> dict[str, str]:
    report = audit(folder, AuditSpec.parse({**SPEC, "faces": True, "text": True, **spec}))
    return {f.name: f.mend for f in report.findings}


def mended(folder: Path, name: str, **spec) -> None:
    found = ids(folder, **spec)
    assert name in found
    run(f"{found[name]} --quiet")
    assert name not in ids(folder, **spec)


def test_a_small_face_gets_crops(folder):
    image = make.texture(0, (700, 1000))
    ImageDraw.Draw(image).rectangle((300, 100, 349, 179), fill=FACE)
    image.save(folder / "00.png")
    mended(folder, "B08")
    assert (folder / "00-portrait.png").is_file()


def test_other_faces_are_blurred(folder):
    image = make.texture(0, (256, 256))
    checked(image, (10, 10, 90, 110), FACE)
    checked(image, (170, 20, 230, 90), FACE)
    image.save(folder / "00.png")
    mended(folder, "B10 many")


def test_an_address_is_painted_over(folder):
    image = Image.new("RGB", (128, 128), (120, 130, 140))
    image.paste(make.texture(0, (128, 70)), (0, 0))
    ImageDraw.Draw(image).rectangle((20, 100, 60, 108), fill=INK)
    image.save(folder / "00.png")
    mended(folder, "B09")


class Double:
    """An upscaler that knows nothing."""

    path, architecture, scale, sha256 = Path("double.pth"), "double", 2, "0"

    def __call__(self, image):
        return image.repeat(2, axis=0).repeat(2, axis=1)


def test_a_small_image_is_enlarged(folder, monkeypatch):
    monkeypatch.setattr(Upscale, "_open", lambda self: (Double(), None))
    make.small(folder)
    mended(folder, "B01")


class Middle:
    """A mask maker that takes the middle for the subject."""

    name = "middle"

    def __call__(self, image):
        return np.asarray(make.disc(256).resize(image.size), np.float32) / 255


@pytest.fixture
def matte(monkeypatch):
    monkeypatch.setattr(Matte, "open", classmethod(lambda cls, *_, **__: Middle()))


@pytest.mark.usefixtures("matte")
def test_one_background_is_masked_away(folder):
    make.one_background(folder)
    mended(folder, "B12")


@pytest.mark.usefixtures("matte")
def test_images_without_a_mask_get_theirs(folder):
    make.masks(folder, range(4))
    mended(folder, "F04")


# --- what a plan mends ------------------------------------------------------------------------------------------------


def planned(folder: Path, monkeypatch, command: str, capsys) -> dict[str, str]:
    """What is left after the command has written a recipe, with that recipe."""
    from bakehouse.cli.dataset.audit_options import Use
    from bakehouse.cli.dataset.audit_spec import spec_of

    monkeypatch.chdir(folder.parent)
    run(f"{command} --quiet")
    capsys.readouterr()
    spec = spec_of(folder, Use(recipe=folder.parent / "recipe.toml", faces=False, text=False))
    return {f.name: f.level for f in audit(folder, spec).findings}


def test_a_long_caption_needs_more_tokens(folder, monkeypatch, capsys):
    make.lengthy(folder)
    found = ids(folder, triggers=ZWX)
    assert "C04" not in planned(folder, monkeypatch, found["C04"], capsys)


def test_a_plan_shows_images_as_often_as_is_usual(folder, monkeypatch, capsys):
    found = ids(folder, triggers=ZWX, family="sd1", epochs=1, repeats={".": 1})
    left = planned(folder, monkeypatch, found["E03"], capsys)
    assert "E03" not in left and left["E06"] in ("info", "warning")
