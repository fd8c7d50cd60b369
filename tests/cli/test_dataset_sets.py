"""`bakehouse dataset dedupe, trim, bucket, sort, repeats` as they are typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from bakehouse.cli.main import main
from bakehouse.curation.sorting import sort
from bakehouse.data import image_size, open_image
from bakehouse.recipe import Recipe

RECIPE = """
[[concepts]]
folder = "set/1_a"
subject = "zwx"

[[concepts]]
folder = "set/2_b"
subject = "qvr"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for i, name in enumerate(["a", "b"]):
        (tmp_path / "set" / f"{i + 1}_{name}").mkdir(parents=True)
        for k in range(2 + i):
            noise = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((320, 280))
            noise.save(tmp_path / "set" / f"{i + 1}_{name}" / f"{k}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "set"


def typed(*words, code=0):
    with pytest.raises(SystemExit) as e:
        main(["dataset", *map(str, words)])
    assert (e.value.code or 0) == code


def test_dedupe(folder, capsys):
    open_image(folder / "1_a" / "0.png").save(folder / "1_a" / "copy.jpg", quality=50)
    typed("dedupe", folder, "--dry-run")
    assert "1_a/copy.jpg" in (out := capsys.readouterr().out) and "is compressed less" in out
    typed("dedupe", folder, "--json", "--dry-run")
    (proposal,) = json.loads(capsys.readouterr().out)["proposals"]
    assert proposal["path"] == "1_a/copy.jpg" and (folder / proposal["source"]).is_file()
    typed("dedupe", folder, "--usual", "500", code=2)
    assert "usual" in capsys.readouterr().err
    typed("dedupe", folder)
    assert "undo with" in capsys.readouterr().out
    assert not (folder / "1_a" / "copy.jpg").exists()


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "avif"])
@pytest.mark.parametrize("words", [("trim", "--fuzz", "0.1"), ("square",), ("flatten",)])
def test_a_moving_picture_is_passed_over_by_name(folder, capsys, kind, words):
    path = folder / "1_a" / f"moving.{kind}"
    frames = [Image.new("RGBA", (400, 300), (0, 0, 0, 0)) for _ in range(2)]
    for shift, frame in enumerate(frames):
        frame.paste((200, 30 + 90 * shift, 40, 255), (60 + 20 * shift, 40, 320, 280))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    before = path.read_bytes()
    typed(words[0], folder, *words[1:])
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"skipped animated images: 1_a/moving.{kind}" in said and "--frames distinct" in said
    assert path.read_bytes() == before
    typed("convert", folder, "--frames", "distinct")
    assert len(list((folder / "1_a").glob("moving*.png"))) == 2


def test_trim(folder, capsys, tmp_path):
    path = folder / "1_a" / "0.png"
    ImageOps.expand(open_image(path), (0, 30, 0, 30)).save(path)
    typed("trim", folder, "--preview", tmp_path / "page.html")
    assert "30 px top, 30 px bottom" in (tmp_path / "page.html").read_text("utf-8")
    typed("trim", folder, "-o", tmp_path / "out")
    assert image_size(tmp_path / "out" / "1_a" / "0.png") == (320, 280)
    assert image_size(path) == (320, 340)


def test_bucket(folder, capsys, tmp_path):
    typed("bucket", folder, "--batch", "4", "--preview", tmp_path / "page.html")
    found = capsys.readouterr()
    assert "576x448" in found.out and (tmp_path / "page.html").is_file()
    assert "fewer images" not in found.err
    typed("bucket", folder, "--resolution", "256", "--step", "32", "--json")
    document = json.loads(capsys.readouterr().out)
    assert len(document["images"]) == 5 and document["images"][0]["bucket"] == [288, 224]
    typed("bucket", folder, "-o", tmp_path / "x", code=2)
    typed("bucket", folder, "--sort")
    assert (folder / "1_a" / "576x448" / "0.png").is_file()


def test_repeats(folder, capsys, tmp_path):
    typed("repeats", folder, "--shows", "12", "--batch", "2")
    assert "24 images per epoch, 12 steps at batch size 2" in capsys.readouterr().out
    typed("repeats", folder, "--shows", "12", "--write", "folders")
    assert sorted(p.name for p in folder.iterdir() if p.name[0] != ".") == ["4_b", "6_a"]
    typed("repeats", folder, "--shows", "12", "--write", "toml", "-o", tmp_path / "out")
    assert str((tmp_path / "out").resolve()) in (tmp_path / "out" / "dataset.toml").read_text()
    capsys.readouterr()
    typed("repeats", folder, "--shows", "12", "--json")
    assert [row["repeats"] for row in json.loads(capsys.readouterr().out)["concepts"]] == [4, 6]


def test_repeats_of_a_recipe(folder, capsys, tmp_path):
    (tmp_path / "me.toml").write_text(RECIPE)
    typed("repeats", "me.toml", "--shows", "12", "-o", "new.toml")
    assert [c.repeats for c in Recipe.load(tmp_path / "new.toml").concepts] == [6, 4]
    typed("repeats", "me.toml", "--write", "folders", code=2)


def test_sort_into_a_recipes_concepts(folder, capsys, tmp_path):
    Image.new("RGB", (32, 32)).save(folder / "new.png")
    (folder / "new.txt").write_text("qvr person, smile")
    (tmp_path / "me.toml").write_text(RECIPE)
    typed("sort", folder, "--recipe", "me.toml")
    assert (folder / "2_b" / "new.png").is_file() and (folder / "2_b" / "new.txt").is_file()
    typed("sort", folder, code=2)
    assert "needs the tags to sort by" in capsys.readouterr().err


@pytest.mark.parametrize("by", [("cluster", "--clusters", "2"), ("example",)])
def test_sort_goes_on_after_a_file_that_is_cut_short_meanwhile(folder, capsys, monkeypatch, by):
    """The file is whole when the dataset is read, and damaged when it is opened."""
    for k in range(3):
        open_image(folder / "1_a" / "0.png").save(folder / f"new{k}.png")
    cut, load_embedder = folder / "new1.png", sort.load_embedder

    def damage_first(name):
        cut.write_bytes(cut.read_bytes()[:2000])
        return load_embedder(name)

    monkeypatch.setattr(sort, "load_embedder", damage_first)
    typed("sort", folder, "--by", *by, "--json")
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert warning.startswith("skipped new1.png: the file is damaged or cut short")
    assert sorted(path.name for path in folder.glob("*.png")) == ["new1.png"]
    assert len(list(folder.glob("*/new*.png"))) == 2


def test_sort_by_example_needs_two_folders_that_can_be_read(folder, capsys, monkeypatch):
    open_image(folder / "1_a" / "0.png").save(folder / "new.png")
    load_embedder = sort.load_embedder

    def damage_first(name):
        for path in (folder / "1_a").glob("*.png"):
            path.write_bytes(path.read_bytes()[:2000])
        return load_embedder(name)

    monkeypatch.setattr(sort, "load_embedder", damage_first)
    typed("sort", folder, "--by", "example", code=2)
    assert "has 1 folder of images" in " ".join(capsys.readouterr().err.split())
