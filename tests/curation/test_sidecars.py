from pathlib import Path, PurePosixPath

import pytest
from PIL import Image

from bakehouse.curation.apply_and_undo import HISTORY_FOLDER, Proposal, apply_proposals, undo
from bakehouse.curation.sidecars import move_with_sidecars, remove_with_sidecars, sidecar_files
from bakehouse.data import scan

P = PurePosixPath


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".txt", ".caption", ".json", ".tags"):
            path.write_text('{"caption": "x"}' if path.suffix == ".json" else f"caption of {name}", encoding="utf-8")
        else:
            Image.new("RGB", (64, 64), (len(name), 9, 200)).save(path)
    return folder


def names(folder: Path) -> set[str]:
    return {
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and HISTORY_FOLDER not in p.parts
    }


def apply_edits(folder, images, edits):
    return apply_proposals(folder, "sort", [Proposal(P("a"), "", lambda: edits)])


@pytest.mark.parametrize(
    ("files", "mine"),
    [
        (["a.png", "a.txt", "a.caption", "a.png.txt", "ab.txt", "b.png"], {"a.txt", "a.caption", "a.png.txt"}),
        (["a.png", "a.jpg", "a.txt", "a.png.txt"], {"a.png.txt"}),
        (["a.png", "A.TXT", "masks/a.png"], {"A.TXT", "masks/a.png"}),
        (["a.png", "a.mask.png", "b.png"], {"a.mask.png"}),
        (["a.png", "a.json"], {"a.json"}),
        (["a.png", "a.txt", "a.tags"], {"a.txt", "a.tags"}),
        (["cafe\u0301.png", "caf\u00e9.txt"], {"caf\u00e9.txt"}),
    ],
)
def test_an_image_owns_what_serves_no_other(tmp_path, files, mine):
    for file in files:
        if file == "A.TXT":
            (tmp_path / file).write_text("x")
        else:
            make(tmp_path, file)
    images = scan(tmp_path)
    record = next(r for r in images if r.path.suffix == ".png")
    assert {p.relative_to(tmp_path).as_posix() for p in sidecar_files(record, images)} == mine


def test_a_mask_that_serves_two_images_stays(tmp_path):
    make(tmp_path, "one/a.png", "two/a.png", "masks/a.png")
    images = scan(tmp_path)
    assert images.masks == {tmp_path / "masks/a.png": 2}
    assert all(sidecar_files(record, images) == () for record in images)


def test_a_mask_outside_the_dataset_stays(tmp_path):
    make(tmp_path, "images/a.png", "masks/a.png")
    images = scan(tmp_path / "images")
    assert images[0].mask is not None
    assert sidecar_files(images[0], images) == ()


@pytest.mark.parametrize(
    ("mask", "to", "there"),
    [
        ("masks/a.png", "10_me/x.png", "10_me/masks/x.png"),
        ("masks/a.png", "x.png", "masks/x.png"),
        ("a-masklabel.png", "10_me/x.png", "10_me/x-masklabel.png"),
        ("a.mask.png", "y/a.png", "y/a.mask.png"),
    ],
)
def test_what_belongs_to_an_image_moves_with_it_and_is_found_again(tmp_path, mask, to, there):
    make(tmp_path, "a.png", "a.txt", "a.png.caption", mask)
    before = names(tmp_path)
    images = scan(tmp_path)
    assert apply_edits(tmp_path, images, move_with_sidecars(images[0], images, P(to)))
    x = P(to)
    assert names(tmp_path) == {to, there, str(x.with_suffix(".txt")), f"{to}.caption"}
    again = scan(tmp_path)[0]
    assert (again.path, again.mask) == (tmp_path / to, tmp_path / there)
    assert again.captions == images[0].captions
    undo(tmp_path)
    assert names(tmp_path) == before


def test_moving_to_where_it_is_is_nothing(tmp_path):
    images = scan(make(tmp_path, "a.png", "a.txt"))
    assert move_with_sidecars(images[0], images, P("a.png")) == []


def test_a_removed_image_takes_its_captions_along(tmp_path):
    make(tmp_path, "a.png", "a.txt", "masks/a.png", "b.png", "b.txt")
    images = scan(tmp_path)
    apply_edits(tmp_path, images, remove_with_sidecars(images[0], images))
    assert names(tmp_path) == {"b.png", "b.txt"}
    undo(tmp_path)
    assert len(names(tmp_path)) == 5


def test_many_images_take_no_square_of_the_time(tmp_path, monkeypatch):
    images = scan(make(tmp_path, "a.png", "b.png", "c.png"))
    listed = []
    real = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: (listed.append(self), real(self))[1])
    for record in images:
        sidecar_files(record, images)
    assert len(listed) <= 1
