"""What a bucket takes is what training cuts; folders by bucket; the page."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from bakehouse.curation.apply_and_undo import undo
from bakehouse.curation.bucket import Bucket, shaded, write_page
from bakehouse.curation.operation import apply_operation
from bakehouse.data import fit, open_image, scan

from .make_images import put, scene


@pytest.fixture
def folder(tmp_path):
    put(tmp_path, wide_png=scene(1, 600, 300), square_png=scene(2, 256, 256), tall_jpg=scene(3, 300, 342))
    (tmp_path / "wide.txt").write_text("person")
    put(tmp_path / "masks", tall_png=Image.new("L", (300, 342), 255))
    return tmp_path


def fits(folder, **buckets):
    verb = Bucket.parse({"buckets": buckets, "batch": 2})
    return {f.record.path.stem: f for f in verb.fits(scan(folder))}


def test_what_is_lost_is_what_training_cuts(folder):
    for found in fits(folder, resolution=256, step=64).values():
        image = open_image(found.record.path)
        left, top, right, bottom = found.lost
        cut = image.crop((left, top, image.width - right, image.height - bottom))
        seen = np.asarray(fit(image, found.placement), float)
        mine = np.asarray(cut.resize(found.placement.bucket, Image.Resampling.HAMMING), float)
        assert np.abs(seen - mine).mean() < 4
        kept = cut.width * cut.height / image.width / image.height
        assert kept == pytest.approx(1 - found.placement.lost_fraction, abs=0.01)


def test_both_rules(folder):
    assert fits(folder)["tall"].placement.bucket == (448, 576)
    assert fits(folder, rule="kohya")["tall"].placement.bucket == (448, 576)
    put(folder, lying_png=scene(3, 342, 300))
    assert fits(folder)["lying"].placement.bucket == (576, 448)
    assert fits(folder, rule="kohya")["lying"].placement.bucket == (512, 512)


def test_in_words(folder):
    found = fits(folder, resolution=256)
    assert found["square"].description == "256 x 256 to 256x256, x1.00; loses nothing"
    said = r"600 x 300 to \d+x\d+, x0\.\d\d; loses \d+ px left and \d+ px right \(\d+\.\d%\)"
    assert re.fullmatch(said, found["wide"].description)


def test_the_shade_lies_on_what_is_lost(folder):
    found = fits(folder, resolution=256, enabled=False)["wide"]
    picture = np.asarray(shaded(found), float)
    plain = np.asarray(open_image(found.record.path).resize(picture.shape[1::-1]), float)
    changed = np.abs(picture - plain).mean((0, 2)) > 12
    assert changed[:45].mean() > 0.9 and changed[-45:].mean() > 0.9
    assert not changed[60:-60].any()


def test_warnings(folder):
    images = scan(folder)
    verb = Bucket(batch=2)
    assert any("fewer images than the batch of 2" in warning for warning in verb.warnings(verb.fits(images)))


def test_folders_by_bucket(folder):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    verb = Bucket.parse({"buckets": {"resolution": 256}})
    apply_operation(folder, verb)
    images = scan(folder)
    for found in verb.fits(images):
        assert images.name(found.record.path).parent.name == "{}x{}".format(*found.placement.bucket)
    records = {r.path.stem: r for r in images}
    assert records["wide"].captions == ("person",) and records["tall"].mask is not None
    assert apply_operation(folder, verb) is None
    apply_operation(folder, Bucket.parse({"buckets": {"resolution": 512}}))
    assert all(len(scan(folder).name(r.path).parts) == 2 for r in scan(folder))  # not deeper and deeper
    undo(folder)
    undo(folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and ".bakehouse" not in p.parts} == before


def test_the_page_needs_nothing_else(folder, tmp_path_factory):
    page = tmp_path_factory.mktemp("page") / "buckets.html"
    seen = []
    write_page(page, Bucket(batch=2), scan(folder), progress=lambda done, total: seen.append((done, total)))
    text = page.read_text("utf-8")
    assert text.count("data:image/webp;base64,") == 3
    assert "{{" not in text and 'src="http' not in text
    assert "fewer images than the batch" in text
    assert seen[-1] == (3, 3)
