"""Convert, flatten and square: what becomes of the pixels, the names and the captions; and all of it comes back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bakehouse.core.errors import Problems
from bakehouse.curation.apply_and_undo import HISTORY_FOLDER, read_history, undo
from bakehouse.curation.convert import Convert
from bakehouse.curation.flatten import Flatten
from bakehouse.curation.operation import apply_operation
from bakehouse.curation.square import Square, pad_to_square
from bakehouse.data import image_size, open_image, scan
from bakehouse.data.image_header import read_image_header


def photo(width=48, height=32, seed=0):
    y, x = np.mgrid[0:height, 0:width]
    shift = np.random.default_rng(seed).integers(0, 100, 3)
    return Image.fromarray(
        (np.stack([x * 3 + shift[0], y * 4 + shift[1], (x + y) * 2 + shift[2]], -1) % 256).astype("u1")
    )


def see_through(width=48, height=32):
    image = photo(width, height).convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat(np.linspace(0, 255, width).astype("u1")[None], height, 0)))
    return image


def look(folder):
    paths = [p for p in folder.rglob("*") if p.is_file() and HISTORY_FOLDER not in p.parts]
    return {p.relative_to(folder).as_posix(): (p.read_bytes(), p.stat().st_mtime_ns) for p in paths}


def pixels(path):
    return np.asarray(open_image(path, mode="RGBA"))


@pytest.fixture
def heap(tmp_path):
    """One of each that is no plain PNG, and one that is."""
    folder = tmp_path / "heap"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    photo().save(folder / "plain.png")
    photo(seed=1).save(folder / "turned.jpg", exif=exif)
    photo(seed=2).save(folder / "wrong.jpg", "PNG")
    photo(seed=3).save(folder / "noname", "WEBP", lossless=True)
    photo(seed=4).convert("CMYK").save(folder / "inks.tif")
    Image.fromarray(np.tile(np.arange(48, dtype=np.uint16) * 1300, (32, 1))).save(folder / "deep.png")
    see_through().save(folder / "alpha.webp", lossless=True)
    for name in ("turned", "noname", "plain"):
        (folder / f"{name}.txt").write_text(f"caption of {name}")
    return folder


def test_everything_becomes_a_png_with_the_same_pixels(heap):
    before, seen = look(heap), {r.path.stem: pixels(r.path) for r in scan(heap)}
    captions = {r.path.stem: r.captions for r in scan(heap)}
    apply_operation(heap, Convert())
    images = scan(heap)
    assert {r.path.name for r in images} == {f"{stem}.png" for stem in seen}
    for record in images:
        assert np.array_equal(pixels(record.path), seen[record.path.stem])
        found = read_image_header(record.path)
        assert (found.format, found.orientation, found.deep, found.mode in ("RGB", "RGBA")) == ("PNG", 1, False, True)
        assert record.captions == captions[record.path.stem]
    assert (heap / "plain.png").stat().st_mtime_ns == before["plain.png"][1]
    assert apply_operation(heap, Convert()) is None, "twice is once"
    undo(heap)
    assert look(heap) == before


def test_only_names_are_mended(heap):
    before = look(heap)
    step = apply_operation(heap, Convert(names_only=True))
    after = look(heap)
    assert {c.path.name for c in step.changes if c.after} == {"wrong.png", "noname.webp"}
    assert after["wrong.png"] == before["wrong.jpg"]
    assert after["noname.webp"] == before["noname"]


def test_images_of_one_stem_get_names_and_captions_of_their_own(tmp_path):
    for i, name in enumerate(("a.jpg", "a.gif", "a.png", "b.bmp")):
        photo(seed=i).save(tmp_path / name)
    (tmp_path / "a.txt").write_text("one for all")
    before = look(tmp_path)
    apply_operation(tmp_path, Convert())
    assert {r.path.name: r.captions for r in scan(tmp_path)} == {
        "a.png": ("one for all",), "a-jpg.png": ("one for all",), "a-gif.png": ("one for all",), "b.png": ()
    }  # fmt: skip
    undo(tmp_path)
    assert look(tmp_path) == before


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
@pytest.mark.parametrize(("frames", "kept"), [("first", [0]), ("distinct", [0, 2]), ("all", [0, 1, 2, 3])])
def test_animations(tmp_path, ending, frames, kept):
    colours = [(200, 0, 0), (200, 0, 0), (0, 0, 200), (200, 1, 0)]
    pictures = [Image.new("RGB", (480, 320), c) for c in colours]
    options = {"lossless": True} if ending == "webp" else {}
    # Marked in a corner, since encoders join equal frames.
    for i, picture in enumerate(pictures):
        picture.putpixel((i, 0), (190, 0, 0))
    pictures[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=pictures[1:], duration=80, **options)
    (tmp_path / "a.txt").write_text("moving")
    apply_operation(tmp_path, Convert(frames=frames))
    images = scan(tmp_path)
    assert {r.path.name for r in images} == {"a.png", *(f"a-{i + 1:04d}.png" for i in kept[1:])}
    assert {r.captions for r in images} == {("moving",)}
    for i in kept:
        name = "a.png" if i == 0 else f"a-{i + 1:04d}.png"
        assert np.abs(pixels(tmp_path / name)[5, 5, :3].astype(int) - colours[i]).max() <= 6


# --- flatten ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("colour", "value"), [("white", (255, 255, 255)), ("#0a141e", (10, 20, 30))])
def test_transparent_parts_show_the_colour(tmp_path, colour, value):
    see_through().save(tmp_path / "a.webp", lossless=True)
    photo().save(tmp_path / "b.png")
    seen = pixels(tmp_path / "a.webp").astype(float)
    step = apply_operation(tmp_path, Flatten(color=colour))
    flat = np.asarray(open_image(tmp_path / "a.png")).astype(float)
    share = seen[..., 3:] / 255
    assert np.abs(flat - (seen[..., :3] * share + np.array(value) * (1 - share))).max() <= 1
    assert not any(r.has_alpha for r in scan(tmp_path))
    assert {c.path.name for c in step.changes} == {"a.png", "a.webp"}


def test_alpha_becomes_the_mask_that_training_finds(tmp_path):
    see_through().save(tmp_path / "a.png")
    see_through().save(tmp_path / "b.png")
    photo().convert("L").save(tmp_path / "b.mask.png")
    mask = (tmp_path / "b.mask.png").read_bytes()
    apply_operation(tmp_path, Flatten(to_mask=True))
    a, b = scan(tmp_path)
    assert a.mask == tmp_path / "masks/a.png"
    assert np.array_equal(np.asarray(open_image(a.mask).convert("L"))[0], np.linspace(0, 255, 48).astype("u1"))
    assert b.mask == tmp_path / "b.mask.png"
    assert b.mask.read_bytes() == mask
    undo(tmp_path)
    assert [r.has_alpha for r in scan(tmp_path)] == [True, True]
    assert not (tmp_path / "masks").exists()


# --- square -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(48, 32), (32, 48), (33, 32)])
@pytest.mark.parametrize("fill", ["white", "#102030", "edge"])
def test_the_picture_stands_whole_in_its_square(tmp_path, size, fill):
    photo(*size).save(tmp_path / "a.jpg", quality=95)
    photo(32, 32).save(tmp_path / "b.png")
    seen = pixels(tmp_path / "a.jpg")
    apply_operation(tmp_path, Square(fill=fill))
    found = pixels(tmp_path / "a.png")
    side = max(size)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    assert found.shape == (side, side, 4)
    assert np.array_equal(found[top : top + size[1], left : left + size[0]], seen)
    colour = {"white": [255] * 3, "#102030": [16, 32, 48], "edge": seen[-1, -1, :3].tolist()}[fill]
    assert found[-1, -1, :3].tolist() == colour
    assert apply_operation(tmp_path, Square()) is None


@pytest.mark.parametrize("mask", ["masks/a.jpg", "a-masklabel.png", "masks/a.png"])
def test_a_mask_is_padded_with_black(tmp_path, mask):
    photo().save(tmp_path / "a.webp")
    (tmp_path / "masks").mkdir()
    Image.new("L", (48, 32), 255).save(tmp_path / mask)
    before = look(tmp_path)
    apply_operation(tmp_path, Square(fill="edge"))
    (record,) = scan(tmp_path)
    found = np.asarray(open_image(record.mask).convert("L"))
    assert found.shape == (48, 48)
    assert found[8:40].min() >= 250
    assert found[:8].max() == found[40:].max() == 0
    assert sum("a" in name and ".png" in name for name in look(tmp_path)) == 2
    undo(tmp_path)
    assert look(tmp_path) == before


def test_a_shared_mask_stays_the_others(tmp_path):
    for folder in ("one", "two", "masks"):
        (tmp_path / folder).mkdir()
    photo().save(tmp_path / "one/a.png")
    photo(32, 32).save(tmp_path / "two/a.png")
    Image.new("L", (48, 32), 255).save(tmp_path / "masks/a.png")
    before = (tmp_path / "masks/a.png").read_bytes()
    apply_operation(tmp_path, Square())
    assert (tmp_path / "masks/a.png").read_bytes() == before
    assert image_size(tmp_path / "one/masks/a.png") == (48, 48)


def test_transparent_images_get_transparent_squares():
    found = pad_to_square(see_through(), "white")
    assert found.getpixel((0, 0)) == (255, 255, 255, 0)
    assert pad_to_square(photo(), "white", "top").getpixel((0, 47)) == (255, 255, 255)
    assert pad_to_square(photo(), "white", "bottom").getpixel((0, 0)) == (255, 255, 255)


def test_wide_tolerance_and_wrong_colours(tmp_path):
    photo(48, 46).save(tmp_path / "a.png")
    assert apply_operation(tmp_path, Square(tolerance=0.05)) is None
    assert read_history(tmp_path) == ()
    with pytest.raises(Problems, match="'whit' is not a colour; use for example white"):
        Square.parse({"fill": "whit"})
    with pytest.raises(Problems, match="not a colour"):
        Flatten.parse({"color": "edge"})
