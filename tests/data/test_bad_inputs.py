"""What the heaps of the world hold and other trainers stumble over; each row that no other test here has."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from bakehouse.data import (
    BucketSpec,
    CaptionOptions,
    ImageError,
    assign,
    fit,
    open_image,
    scan,
    split_tags,
    training_caption,
)
from bakehouse.data.image_header import read_image_header

from .make import photo, save


@pytest.mark.parametrize("name", ["rgb16.tiff", "rgba16.tiff", "rgb16.png", "rgba16.png", "rgb16.ppm"])
def test_deep_colours_stay_a_gradient(tmp_path, name):
    cv2 = pytest.importorskip("cv2")
    grey = np.tile(np.linspace(0, 65535, 64).round().astype(np.uint16), (8, 1))
    array = np.stack([grey] * 3, -1)
    if "rgba" in name:
        array = np.dstack([array, np.full_like(grey, 65535)])
    cv2.imwrite(str(tmp_path / name), array)
    found = np.asarray(open_image(tmp_path / name)).astype(float)
    assert np.abs(found[..., 0] - grey / 257).max() <= 1


def test_colours_in_floats_are_refused_by_name(tmp_path):
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "a.tiff"), np.full((8, 64, 3), 0.5, np.float32))
    with pytest.raises(ImageError, match="RGB, 3 x 32-bit float samples"):
        open_image(tmp_path / "a.tiff")


def test_inks_are_turned_whether_or_not_adobe_signed_them(tmp_path):
    """Photoshop stores inks inverted; files that lost Adobe's mark on the way still have them so."""
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "signed.jpg")
    data = (tmp_path / "signed.jpg").read_bytes()
    at = data.index(b"\xff\xee")
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    (tmp_path / "plain.jpg").write_bytes(data[:at] + data[at + 2 + length :])
    for name in ("signed.jpg", "plain.jpg"):
        assert np.abs(np.array(open_image(tmp_path / name).getpixel((8, 8))) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize(
    "name", ["UPPER.PNG", "mixed.JpG", "odd.JFIF", "a.b.c.png", "with space.png", "猫.webp", "x.apng"]
)
def test_names_are_no_matter(tmp_path, name):
    photo().save(tmp_path / name, format="PNG" if name.lower().endswith("png") else None)
    (tmp_path / name).with_suffix(".TXT").write_text("found")
    (record,) = scan(tmp_path)
    assert record.captions == ("found",)


@pytest.mark.parametrize("size", [(1, 1), (50, 50), (8000, 60), (40, 3000)])
@pytest.mark.parametrize("rule", ["log", "kohya"])
@pytest.mark.parametrize("upscale", [True, False])
def test_tiny_images_and_strips_come_into_a_bucket(tmp_path, size, rule, upscale):
    """kohya divides by zero or makes buckets of no width."""
    save(tmp_path / "a.png", *size)
    (record,) = scan(tmp_path)
    (placement,) = assign(
        [(record.width, record.height)], BucketSpec(resolution=64, min=32, max=128, step=8, rule=rule, upscale=upscale)
    )
    assert min(placement.bucket) >= 8
    assert fit(open_image(record.path), placement).size == placement.bucket


@pytest.mark.parametrize("name", ["a.jxl", "a.CR2", "a.nef", "a.dng"])
def test_sorts_that_cannot_be_read_are_named(tmp_path, name):
    """A raw file is a TIFF of which Pillow opens the thumbnail."""
    save(tmp_path / "good.png")
    photo(16, 12).save(tmp_path / name, format="TIFF")
    images = scan(tmp_path)
    assert [r.path.name for r in images] == ["good.png"]
    assert [s.path.name for s in images.skipped] == [name]
    assert "save it as PNG" in images.skipped[0].reason


def test_a_jpeg_xl_of_another_name_is_named(tmp_path):
    save(tmp_path / "good.png")
    (tmp_path / "a.jpg").write_bytes(b"\xff\x0a" + bytes(range(1, 60)))
    assert "JPEG XL" in scan(tmp_path).skipped[0].reason


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "avif"])
def test_a_moving_picture_says_so(tmp_path, suffix):
    photo().save(tmp_path / f"a.{suffix}", save_all=True, append_images=[photo(seed=1), photo(seed=2)])
    assert read_image_header(tmp_path / f"a.{suffix}").frames == 3


@pytest.mark.parametrize(
    "text", ["name (series), smile", "name \\(series\\), smile", "(o)_(o), ||_||, ^_^", "a, b、c，d"]
)
def test_tags_with_signs_inside_stay_whole(text):
    tags = split_tags(text)
    assert ", ".join(tags) == text
    options = CaptionOptions(shuffle=True, keep_tokens=1)
    shown = training_caption([text], options, rng=random.Random(1), epoch=1, step=0, fallback="")
    assert sorted(split_tags(shown)) == sorted(tags)


def test_an_empty_caption_is_no_caption(tmp_path):
    save(tmp_path / "a.png", caption="")
    images = scan(tmp_path)
    assert images[0].captions == ()
    assert "a.txt: it is empty" in images.notes
    shown = training_caption((), CaptionOptions(), rng=random.Random(0), epoch=1, step=0, fallback="zwx person")
    assert shown == "zwx person"


def test_one_stem_twice_is_two_images_with_two_contents(tmp_path):
    """Caches are keyed by content: with keys by stem the one would be trained with the other's latents."""
    save(tmp_path / "a.png")
    save(tmp_path / "a.jpg", seed=3)
    one, two = scan(tmp_path)
    assert one.sha256 != two.sha256


def test_the_whole_heap_at_once(tmp_path):
    """One bad file spoils nothing for the others."""
    good = [save(tmp_path / "good/a.png", caption="fine"), save(tmp_path / "good/b.jpg", seed=1)]
    (tmp_path / "zero.png").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<html>403 Forbidden</html>")
    (tmp_path / "cut.jpg").write_bytes(good[1].read_bytes()[:300])
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "raw.nef").write_bytes(b"II*\0")
    (tmp_path / "good/b.txt").write_bytes("Katze, Straße".encode("latin-1"))
    images = scan(tmp_path)
    assert [r.path for r in images] == good
    assert [r.captions for r in images] == [("fine",), ("Katze, Straße",)]
    assert {s.path.name for s in images.skipped} == {"zero.png", "page.jpg", "cut.jpg", "raw.nef"}
    assert all(open_image(r.path).mode == "RGB" for r in images)
