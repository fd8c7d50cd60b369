"""Borders go to the pixel; dark rooms, skies and flat drawings stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bakehouse.curation.apply_and_undo import undo
from bakehouse.curation.operation import apply_operation
from bakehouse.curation.trim import Trim, crop_borders
from bakehouse.data import open_image, scan

from .make_images import jpeg, put, scene

TRIM = Trim(shortest=16)


def framed(image, left, top, right, bottom, colour=(0, 0, 0)):
    return ImageOps.expand(image, (left, top, right, bottom), fill=colour)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(0, 60)] * 4), st.sampled_from([(0, 0, 0), (255, 255, 255), (30, 60, 200)]))
def test_a_border_goes_to_the_pixel(borders, colour):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (160, 160, 3), dtype=np.uint8))
    image.paste(scene(3, 150, 150), (5, 5))
    wanted = tuple(b if b >= 2 else 0 for b in borders)
    assert TRIM.borders(framed(image, *borders, colour)) == wanted


def test_what_a_jpeg_makes_of_a_border_is_one():
    for quality in (95, 75, 40):
        found = TRIM.borders(jpeg(framed(scene(3), 0, 48, 0, 32), quality))
        assert found[0] == found[2] == 0
        assert 40 <= found[1] <= 50 and 24 <= found[3] <= 34


def dark_room(figure):
    """20 of 255, give or take 6, with something in the middle."""
    room = np.random.default_rng(0).integers(14, 27, (300, 400, 3)).astype(np.uint8)
    room[100:200, 150:250] = figure
    return Image.fromarray(room)


@pytest.mark.parametrize("figure", [60, 255])
def test_a_dark_room_stays(figure):
    assert TRIM.borders(dark_room(figure)) == (0, 0, 0, 0)
    assert TRIM.borders(jpeg(dark_room(figure), 80)) == (0, 0, 0, 0)


def test_a_sky_and_one_colour_stay():
    sky = np.repeat(np.linspace(120, 200, 300)[:, None, None], 400, 1).repeat(3, 2).astype(np.uint8)
    sky[200:, :] = np.random.default_rng(0).integers(0, 255, (100, 400, 3))
    assert TRIM.borders(Image.fromarray(sky)) == (0, 0, 0, 0)
    assert TRIM.borders(Image.new("RGB", (300, 300), "white")) == (0, 0, 0, 0)


def test_a_thin_tip_is_no_stray_pixel():
    page = Image.new("RGB", (400, 400), "white")
    page.paste((0, 0, 0), (150, 150, 250, 400))
    page.paste((0, 0, 0), (199, 90, 202, 150))
    assert TRIM.borders(page)[1] == 90


def test_a_border_inside_another():
    image = framed(framed(scene(3), 10, 0, 10, 0, (255, 255, 255)), 0, 30, 0, 30)
    assert TRIM.borders(framed(image, 8, 8, 8, 8, (255, 255, 255))) == (18, 38, 18, 38)


def test_limits():
    image = framed(scene(3, 100, 100), 300, 0, 100, 0)
    assert TRIM.borders(image) == (225, 0, 100, 0)  # 45 % of 500
    left, _, right, _ = Trim().borders(image)
    assert 500 - left - right == 256
    assert left > right
    assert Trim().borders(framed(scene(3, 100, 100), 20, 20, 20, 20)) == (0, 0, 0, 0)
    assert TRIM.model_copy(update={"margin": 5}).borders(image) == (225, 0, 95, 0)
    assert TRIM.model_copy(update={"least": 101}).borders(image) == (225, 0, 0, 0)


def test_what_is_see_through_is_a_border():
    image = Image.new("RGBA", (300, 300), (200, 10, 10, 0))
    image.paste(scene(3, 100, 100).convert("RGBA"), (50, 60))
    image.putpixel((0, 0), (0, 255, 0, 0))
    assert Trim(shortest=16).borders(image) == (50, 60, 135, 135)


def test_images_masks_and_captions(tmp_path):
    inner = scene(3)
    folder = put(tmp_path, a_bmp=framed(inner, 20, 0, 60, 0), b_png=framed(inner, 0, 40, 0, 0), c_png=inner)
    put(folder / "masks", b_png=framed(Image.new("L", inner.size, 200), 0, 40, 0, 0, 0))
    (folder / "a.txt").write_text("person")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    step = apply_operation(folder, Trim())
    assert {c.why for c in step.changes} == {
        "uniform border: 20 px left, 60 px right; 400 x 400 becomes 320 x 400",
        "uniform border: 40 px top; 320 x 440 becomes 320 x 400",
    }
    assert open_image(folder / "a.png").size == inner.size
    assert np.array_equal(open_image(folder / "b.png"), inner)
    assert open_image(folder / "masks" / "b.png").convert("L").getextrema() == (200, 200)
    assert scan(folder)[0].captions == ("person",)
    assert apply_operation(folder, Trim()) is None  # twice is once
    undo(folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and ".bakehouse" not in p.parts} == before


def test_cut():
    assert crop_borders(scene(1, 40, 30), (1, 2, 3, 4)).size == (36, 24)
