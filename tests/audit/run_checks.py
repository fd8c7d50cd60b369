"""Helpers: audit a dataset, run a command, and stand-ins for the networks."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bakehouse.audit import AuditSpec, Detectors, Report, audit
from bakehouse.cli.main import main
from bakehouse.core import thread_pool
from bakehouse.curation.upscale import Upscale
from bakehouse.vision.faces import Face
from bakehouse.vision.segmentation.segmenter import Segmenter
from bakehouse.vision.text_detection import TextRegion
from tests.audit import make_datasets as make

SPEC = {
    "base": "crumb", "family": "crumb", "buckets": {"resolution": 128, "step": 32}, "faces": False, "text": False,
}  # fmt: skip
ZWX = [{"word": "zwx", "class_word": "person", "strategy": "fluid"}]


def trigger(word, **more):
    return {"word": word, "strategy": "static", **more}


def audit_with(folder: Path, spec: dict, known: str = "", detectors: Detectors | None = None) -> Report:
    values = {**SPEC, **spec}
    values |= {"vocabulary": known} if values.get("vocabulary") == "@known" else {}
    return audit(folder, AuditSpec.parse(values), detectors=detectors)


def audit_with_recipe(folder: Path, recipe: str) -> Report:
    """Audit as `bakehouse dataset audit FOLDER --recipe FILE` does."""
    from bakehouse.cli.dataset.audit_settings import AuditOptions, audit_spec

    return audit(folder, audit_spec(folder, AuditOptions(recipe=Path(recipe), faces=False, text=False)))


def run(line: str) -> None:
    """One command, as a person types it."""
    words = shlex.split(line)
    assert words[0] == "bakehouse"
    with pytest.raises(SystemExit) as e:
        main(words[1:])
    assert not e.value.code, line


# --- networks ---------------------------------------------------------------------------------------------------------


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


def joined(boxes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Two boxes that touch in the middle are one."""
    if len(boxes) == 2 and {boxes[0][2], boxes[0][0]} & {boxes[1][0], boxes[1][2]}:
        a, b = boxes
        return [(min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))]
    return boxes


def corners(box):
    left, top, right, bottom = box
    return (left, top), (right, top), (right, bottom), (left, bottom)


class Double:
    """An upscaler that knows nothing."""

    path, architecture, scale, sha256 = Path("double.pth"), "double", 2, "0"

    def __call__(self, image):
        return image.repeat(2, axis=0).repeat(2, axis=1)


class Middle:
    """A segmentation model that takes the middle for the subject."""

    name = "middle"

    def __call__(self, image):
        return np.asarray(make.disc(256).resize(image.size), np.float32) / 255


def stand_in(monkeypatch, tmp_path: Path) -> None:
    """A machine whose networks see magenta faces and green letters."""
    monkeypatch.setattr(thread_pool, "WORKERS", 1)
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))

    def faces(image):
        return [Face(box, 0.9) for box in joined(marked(image, make.FACE))]

    def lines(image):
        words = {True: "www.example.com", False: "BAKERY"}
        return [TextRegion(corners(box), words[box[1] > 90], 0.99) for box in marked(image, make.INK)]

    for module in ("audit.detector_availability", "curation.crops.crop", "curation.clean.clean"):
        monkeypatch.setattr(f"bakehouse.{module}.load_face_detector", lambda *_: faces)
    for module in ("audit.detector_availability", "curation.clean.clean"):
        monkeypatch.setattr(f"bakehouse.{module}.RapidOcrDetector", lambda: lines)
    monkeypatch.setattr(Upscale, "_load", lambda self: (Double(), None))
    monkeypatch.setattr(Segmenter, "open", classmethod(lambda cls, *_, **__: Middle()))
