"""Variations: inside the picture, as large as the bucket, and the same wherever they are asked for."""

import colorsys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from bakehouse.data.augment import AugmentSpec, adjust_color, face_box
from bakehouse.data.buckets import BucketSpec, assign
from bakehouse.data.image_records import ImageRecord


def record(tmp_path, size=(300, 200), name="a.png", sha="1"):
    return ImageRecord(tmp_path / name, *size, sha256=sha)


def placed(size):
    return assign([size], BucketSpec(resolution=64, step=16))[0]


def variations(spec, rec, count=200):
    placement = placed((rec.width, rec.height))
    return [spec.vary(rec, placement, n) for n in range(1, count)]


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64), (1000, 90)])
@pytest.mark.parametrize("zoom", [1.0, 2.5])
def test_crops_lie_in_the_picture_and_fill_the_bucket(tmp_path, size, zoom):
    rec = record(tmp_path, size)
    base = placed(size)
    for v in variations(AugmentSpec(random_crop=True, zoom=zoom), rec):
        left, top, right, bottom = v.placement.crop_box
        assert (right - left, bottom - top) == base.bucket == v.placement.bucket
        assert left >= 0
        assert top >= 0
        assert right <= v.placement.resized[0]
        assert bottom <= v.placement.resized[1]
        assert base.scale * 0.99 <= v.placement.scale <= base.scale * zoom * 1.02


def test_crops_reach_both_edges(tmp_path):
    rec = record(tmp_path, (400, 100))
    lefts = [v.placement.crop_box[0] for v in variations(AugmentSpec(random_crop=True), rec, 2000)]
    room = placed((400, 100)).resized[0] - placed((400, 100)).bucket[0]
    assert (min(lefts), max(lefts)) == (0, room)


def test_a_variation_is_a_function_of_the_file_and_its_number(tmp_path):
    spec = AugmentSpec(random_crop=True, zoom=2, color=0.2)
    a, b = record(tmp_path), record(tmp_path, name="copy-elsewhere.png")
    one = variations(spec, a, 50)
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda n: spec.vary(b, placed((300, 200)), n), range(1, 50)))
    assert one == again
    assert one != variations(spec, record(tmp_path, sha="2"), 50)
    assert len(set(one)) > 45


def test_number_nought_is_the_image_as_it_is_placed(tmp_path):
    v = AugmentSpec(random_crop=True, zoom=3, color=1).vary(record(tmp_path), placed((300, 200)), 0)
    assert v.placement == placed((300, 200))
    assert v.colours is None


@pytest.mark.parametrize("anywhere", [False, True])
def test_a_face_crop_holds_the_face_at_its_size(tmp_path, anywhere):
    rec = record(tmp_path, (900, 600), name="girl_0700_0200_0090_0120.png")
    assert face_box(rec) == (655, 140, 90, 120)
    spec = AugmentSpec(face_crop=(2, 4), random_crop=anywhere)
    seen = []
    for v in variations(spec, rec):
        ratio = v.placement.resized[0] / 900
        left, top, right, bottom = v.placement.crop_box
        assert left <= 655 * ratio + 1
        assert right >= 745 * ratio - 1
        assert top <= 140 * ratio + 1
        assert bottom >= 260 * ratio - 1
        seen.append(min(v.placement.bucket) / (120 * ratio))
    assert 2 - 0.05 <= min(seen) < 2.2
    assert 3.8 < max(seen) <= 4 + 0.1


def test_a_small_face_is_not_blown_up(tmp_path):
    rec = record(tmp_path, (900, 600), name="far_0450_0300_0010_0010.png")
    for v in variations(AugmentSpec(face_crop=(1, 2)), rec, 50):
        assert v.placement.scale <= 1.01


def test_the_mask_is_the_face_where_nothing_else_says(tmp_path):
    Image.new("RGB", (90, 60)).save(tmp_path / "a.png")
    mask = Image.new("L", (90, 60))
    mask.paste(255, (20, 10, 50, 40))
    mask.save(tmp_path / "m.png")
    assert face_box(ImageRecord(tmp_path / "a.png", 90, 60, sha256="1", mask=tmp_path / "m.png")) == (20, 10, 30, 30)
    assert face_box(ImageRecord(tmp_path / "a.png", 90, 60, sha256="1")) is None


def test_colours_keep_luma_and_turn_hue():
    rng = np.random.default_rng(0)
    pixels = rng.integers(70, 180, (16, 16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    turned = np.asarray(adjust_color(image, 0.05, 1.0, 1.0), dtype=float)
    luma = [0.299, 0.587, 0.114]
    assert np.abs(turned @ luma - pixels @ luma).max() < 1.5
    assert np.abs(turned - pixels).max() > 5
    grey = Image.new("RGB", (4, 4), (99, 99, 99))
    assert np.abs(np.asarray(adjust_color(grey, 0.1, 1.5, 1.0)).astype(int) - 99).max() <= 1
    assert np.asarray(adjust_color(image, 0.0, 0.0, 1.0)).std(axis=2).max() < 1
    brighter = np.asarray(adjust_color(image, 0.0, 1.0, 0.8), dtype=float)
    assert np.abs(brighter - 255 * (pixels / 255) ** 0.8).max() <= 1.5
    there = np.asarray(adjust_color(adjust_color(image, 0.05, 1.0, 1.0), -0.05, 1.0, 1.0), dtype=float)
    assert np.abs(there - pixels).max() <= 3


def test_a_turn_of_hue_is_a_turn_of_hue():
    red = Image.new("RGB", (1, 1), (180, 90, 90))
    r, g, b = np.asarray(adjust_color(red, 1 / 3, 1.0, 1.0))[0, 0] / 255
    hue = colorsys.rgb_to_hsv(r, g, b)[0]
    assert min(abs(hue - 1 / 3), abs(hue - 2 / 3)) < 0.06


def test_sizes_are_what_sdxl_is_told(tmp_path):
    """Original, crop in the resized picture, target: height before width; the mirror's left is the right."""
    rec = record(tmp_path, (300, 200))
    v = AugmentSpec(random_crop=True).vary(rec, placed((300, 200)), 7)
    left, top, right, _ = v.placement.crop_box
    width, height = v.placement.bucket
    assert v.sizes(rec) == (200, 300, top, left, height, width)
    assert v.sizes(rec, flip=True) == (200, 300, top, v.placement.resized[0] - right, height, width)


def test_the_mirror_is_of_the_varied_picture(tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (200, 300, 3), dtype=np.uint8))
    v = AugmentSpec(random_crop=True, color=0.3).vary(record(tmp_path), placed((300, 200)), 3)
    plain, mirrored = np.asarray(v.apply(image)), np.asarray(v.apply(image, flip=True))
    assert plain.shape[:2] == v.placement.bucket[::-1]
    assert np.array_equal(plain[:, ::-1], mirrored)
