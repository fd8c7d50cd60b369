import os
import time
import unicodedata

import pytest
from PIL import Image

from bakehouse.core.errors import Problems, UsageError
from bakehouse.data import scan

from .make import oriented, photo, png, save


def names(images, root):
    return [r.path.relative_to(root).as_posix() for r in images]


def test_natural_order_whatever_the_system_says(tmp_path, monkeypatch):
    wanted = ["A1.png", "a2.png", "a10.png", "b/1.png", "b/02.png", "b/c/x.png", "z.png"]
    for i, name in enumerate(reversed(wanted)):
        save(tmp_path / name, seed=i)
    assert names(scan(tmp_path), tmp_path) == wanted
    listing = os.scandir

    class Reversed:
        def __init__(self, path="."):
            self.entries = iter(sorted(listing(path), key=lambda e: e.name, reverse=True))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.entries)

        def close(self):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert names(scan(tmp_path), tmp_path) == wanted


def test_scanning_twice_gives_the_same_and_changes_nothing(tmp_path):
    save(tmp_path / "a.png", caption="zwx")
    save(tmp_path / "b.jpg", exif=oriented(6))
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}
    assert scan(tmp_path) == scan(tmp_path)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()} == before


def test_a_record_says_what_the_file_is(tmp_path):
    path = save(tmp_path / "a.jpg", 64, 48, caption="zwx person, smiling", exif=oriented(6))
    (record,) = scan(tmp_path, concept=3)
    assert (record.width, record.height, record.concept) == (48, 64, 3)
    assert record.captions == ("zwx person, smiling",)
    assert record.caption_path == path.with_suffix(".txt")
    assert len(record.sha256) == 64
    assert record.mask is None
    assert not record.has_alpha


def test_what_systems_leave_behind_is_ignored(tmp_path):
    save(tmp_path / "a.png")
    for name in ("._a.png", ".hidden.png", "Thumbs.db", "desktop.ini", "__MACOSX/a.png", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    images = scan(tmp_path)
    assert names(images, tmp_path) == ["a.png"]
    assert images.skipped == ()
    assert images.notes == ()


def test_unusable_files_are_set_aside_with_the_reason(tmp_path):
    good = save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:-60])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html>403 Forbidden")
    png(tmp_path / "bomb.png", 50_000, 50_000)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    images = scan(tmp_path)
    assert names(images, tmp_path) == ["good.png"]
    reasons = {s.path.name: s.reason for s in images.skipped}
    assert list(reasons) == ["bomb.png", "cut.png", "empty.jpg", "gone.png", "page.jpg"]
    assert "megapixels" in reasons["bomb.png"]
    assert "cut short" in reasons["cut.png"]
    assert "empty" in reasons["empty.jpg"]
    assert "link is broken" in reasons["gone.png"]
    assert "web page" in reasons["page.jpg"]
    with pytest.raises(Problems) as caught:
        scan(tmp_path, strict=True)
    assert len(caught.value.problems) == 5


def test_wrong_and_missing_extensions_are_sniffed(tmp_path):
    save(tmp_path / "a.png").rename(tmp_path / "a.jpg")
    save(tmp_path / "b.webp").rename(tmp_path / "b")
    save(tmp_path / "c.jpg").rename(tmp_path / "c.jpg_large")
    (tmp_path / "BMW").write_text("BMW is the beginning of a text, and BM that of a bitmap")
    images = scan(tmp_path)
    assert names(images, tmp_path) == ["a.jpg", "b", "c.jpg_large"]
    assert images.skipped == ()
    assert any("3 images with a wrong extension: a.jpg, b, c.jpg_large" in note for note in images.notes)


def test_link_loops_end_and_each_folder_is_entered_once(tmp_path):
    save(tmp_path / "in/a.png")
    (tmp_path / "in/loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "in")
    assert names(scan(tmp_path), tmp_path) == ["in/a.png"]
    save(tmp_path / "elsewhere/b.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
    assert names(scan(tmp_path / "root"), tmp_path / "root") == ["link/b.png"]


def test_images_of_one_stem_are_kept_with_a_note(tmp_path):
    save(tmp_path / "a.png", caption="both")
    save(tmp_path / "a.jpg", seed=1)
    images = scan(tmp_path)
    assert [r.captions for r in images] == [("both",), ("both",)]
    assert any("a.jpg and a.png" in note for note in images.notes)
    (tmp_path / "a.png.txt").write_text("mine")
    images = scan(tmp_path)
    assert [r.captions for r in images] == [("both",), ("mine",)]


@pytest.mark.parametrize(
    ("name", "text", "captions"),
    [
        ("a.txt", "one, two", ("one, two",)),
        ("a.caption", "one\ntwo", ("one", "two")),
        ("a.png.txt", "zwx", ("zwx",)),
        ("A.TXT", "zwx", ("zwx",)),
        ("a.json", '{"tags": "1girl, solo"}', ("1girl, solo",)),
        ("a.json", '{"caption": "a dog", "tags": ["x", "y"]}', ("a dog, x, y",)),
        ("a.json", '{"caption": ["a dog", "the dog"]}', ("a dog", "the dog")),
        ("a.txt", "", ()),
    ],
)
def test_captions_are_found_by_themselves(tmp_path, name, text, captions):
    save(tmp_path / "a.png")
    (tmp_path / name).write_text(text)
    (record,) = scan(tmp_path)
    assert record.captions == captions
    assert record.caption_path == tmp_path / name


def test_same_stems_in_two_folders_are_two_images(tmp_path):
    save(tmp_path / "a/001.png", caption="one")
    save(tmp_path / "b/001.png", caption="two", seed=1)
    save(tmp_path / "a/masks/001.png")
    images = scan(tmp_path)
    assert [(r.captions, r.mask is not None) for r in images] == [(("one",), True), (("two",), False)]
    assert images.notes == ()


def test_of_several_caption_files_one_is_chosen_and_it_is_said(tmp_path):
    save(tmp_path / "a.png", caption="from txt")
    (tmp_path / "a.caption").write_text("from caption")
    images = scan(tmp_path)
    assert images[0].captions == ("from txt",)
    assert any("a.txt is used, not a.caption" in note for note in images.notes)
    assert scan(tmp_path, caption_extension="caption")[0].captions == ("from caption",)
    (tmp_path / "a.caption").write_text("from txt\n")
    assert scan(tmp_path).notes == ()


def test_names_match_in_nfc(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Zoé ポケ")
    save(tmp_path / f"{decomposed}.png")
    (tmp_path / f"{unicodedata.normalize('NFC', decomposed)}.txt").write_text("found")
    assert scan(tmp_path)[0].captions == ("found",)


def test_orphans_and_odd_captions_are_noted(tmp_path):
    save(tmp_path / "a.png", caption="")
    (tmp_path / "lost.txt").write_text("nobody's")
    notes = scan(tmp_path).notes
    assert any("caption without an image: lost.txt" in note for note in notes)
    assert "a.txt: it is empty" in notes
    save(tmp_path / "b.png", caption="")
    assert any("2 captions with this note: it is empty: a.txt, b.txt" in note for note in scan(tmp_path).notes)
    (tmp_path / "c.png").write_bytes(b"")
    (tmp_path / "c.txt").write_text("of an image that is set aside")
    assert not any("c.txt" in note for note in scan(tmp_path).notes)


def test_animations_are_noted(tmp_path):
    photo().save(tmp_path / "a.gif", save_all=True, append_images=[photo(seed=1)])
    assert any("first frame" in note for note in scan(tmp_path).notes)


@pytest.mark.parametrize("mask", ["a-masklabel.png", "a.mask.png", "mask/a.png", "masks/a.jpg", "Masks/A.png"])
@pytest.mark.parametrize("recursive", [True, False])
def test_masks_are_masks(tmp_path, mask, recursive):
    save(tmp_path / "a.png")
    save(tmp_path / mask)
    (record,) = scan(tmp_path, recursive=recursive)
    assert record.mask == tmp_path / mask


def test_masks_of_a_folder_beside(tmp_path):
    save(tmp_path / "images/a.png")
    save(tmp_path / "masks/a.png")
    assert scan(tmp_path)[0].mask == tmp_path / "masks/a.png"
    assert len(scan(tmp_path)) == 1
    assert scan(tmp_path / "images")[0].mask == tmp_path / "masks/a.png"
    assert scan(tmp_path / "masks")[0].mask is None
    save(tmp_path / "masks/b.png")
    assert any("mask without an image: masks/b.png" in note for note in scan(tmp_path).notes)


def test_alpha_is_seen(tmp_path):
    image = photo().convert("RGBA")
    image.putpixel((0, 0), (1, 2, 3, 254))
    image.save(tmp_path / "a.png")
    assert scan(tmp_path)[0].has_alpha


def test_errors_say_what_is_there(tmp_path):
    with pytest.raises(UsageError, match="does not exist") as caught:
        (tmp_path / "photos").mkdir()
        scan(tmp_path / "photo")
    assert "photos" in caught.value.hint
    with pytest.raises(UsageError, match="it holds nothing"):
        scan(tmp_path / "photos")
    (tmp_path / "photos/a.txt").write_text("x")
    (tmp_path / "photos/film.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 20)
    with pytest.raises(UsageError, match=r"it holds 1 \.mp4, 1 \.txt"):
        scan(tmp_path / "photos")
    path = save(tmp_path / "photos/in/a.png")
    with pytest.raises(UsageError) as caught:
        scan(tmp_path / "photos", recursive=False)
    assert "in" in caught.value.hint
    with pytest.raises(UsageError, match="is a file") as caught:
        scan(path)
    assert str(path.parent) in caught.value.hint
    path.write_bytes(b"")
    with pytest.raises(UsageError, match="cannot") as caught:
        scan(tmp_path / "photos")
    assert "empty" in str(caught.value)
    assert caught.value.exit_code == 2


def test_progress_is_told(tmp_path):
    for i in range(3):
        save(tmp_path / f"{i}.png", seed=i)
    seen = []
    scan(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_it_is_quick(tmp_path):
    source = save(tmp_path / "0.jpg", 512, 512).read_bytes()
    for i in range(1, 60):
        (tmp_path / f"{i}.jpg").write_bytes(source)
    scan(tmp_path)
    begin = time.process_time()
    scan(tmp_path)
    assert 60 / (time.process_time() - begin) > 100  # measured: several hundred a core


def test_every_format_is_read(tmp_path):
    for suffix in ("png", "jpg", "webp", "gif", "bmp", "tiff", "avif", "heic"):
        save(tmp_path / f"a{suffix}.{suffix}")
    images = scan(tmp_path)
    assert len(images) == 8
    assert images.skipped == ()
    assert images.notes == ()
    assert {(r.width, r.height) for r in images} == {(64, 48)}
    assert Image.MAX_IMAGE_PIXELS == 89_478_485
