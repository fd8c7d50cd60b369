"""`bakehouse dataset`: what the user types and reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from bakehouse.cli.main import main
from bakehouse.curation.apply_and_undo import HISTORY_FOLDER, read_history
from bakehouse.curation.operation import collect_proposals
from bakehouse.curation.trim import Trim
from bakehouse.data import image_size, scan


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        Image.new("RGB", (96, 64 + 16 * i), (80 * i, 0, 0)).save(photos / f"{i}.png")
        (photos / f"{i}.txt").write_text(f"caption {i}")

    def say(*words: str, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as e:
            main(["dataset", *words])
        out, err = capsys.readouterr()
        assert (e.value.code or 0) == code, err
        return out, err

    return say


def look(folder):
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir() if p.name != HISTORY_FOLDER}


def test_a_verb_is_listed_done_and_taken_back(said, tmp_path):
    before = look(tmp_path / "photos")
    out, _ = said("square", "photos", "--dry-run")
    assert out.splitlines() == [
        "0.png  96 x 64 becomes 96 x 96",
        "1.png  96 x 80 becomes 96 x 96",
        "square: 2 changes proposed for 3 images; nothing was written to the dataset",
    ]
    assert look(tmp_path / "photos") == before
    assert not (tmp_path / "photos" / HISTORY_FOLDER).exists()
    out, _ = said("square", "photos", "--fill", "edge")
    assert out.splitlines()[-2:] == [
        "step 1 (square): 2 files changed in photos",
        "undo with: bakehouse dataset undo photos",
    ]
    out, _ = said("history", "photos")
    assert "square" in out
    assert "fill edge" in out
    out, _ = said("undo", "photos")
    assert out == "undid step 1 (square): 2 files changed\nphotos is as it was before step 1\n"
    assert look(tmp_path / "photos") == before


def test_preview_writes_a_page_that_needs_no_other_file(said, tmp_path):
    before = look(tmp_path / "photos")
    out, _ = said("square", "photos", "--preview", "page.html")
    assert out.endswith("nothing was written to the dataset; see page.html\n")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("data:image/webp;base64,") == 4
    assert "96 x 64 becomes 96 x 96" in page
    assert "http" not in page
    assert look(tmp_path / "photos") == before


def test_out_works_on_a_copy(said, tmp_path):
    before = look(tmp_path / "photos")
    out, _ = said("square", "photos", "-o", "squares")
    assert out.endswith("bakehouse dataset undo squares\n")
    assert look(tmp_path / "photos") == before
    assert {image_size(p) for p in (tmp_path / "squares").glob("*.png")} == {(96, 96)}


def test_nothing_to_do_is_said(said):
    assert said("flatten", "photos")[0] == "flatten: nothing to change in photos\n"
    assert said("flatten", "photos", "--dry-run")[0] == "flatten: nothing to change in 3 images\n"
    assert "no history" in said("history", "photos")[1]


def test_json(said):
    told = json.loads(said("square", "photos", "--dry-run", "--json")[0])
    assert [p["path"] for p in told["proposals"]] == ["0.png", "1.png"]
    told = json.loads(said("square", "photos", "--json")[0])
    assert (told["step"], told["state"], len(told["changes"])) == (1, "done", 2)
    assert json.loads(said("history", "photos", "--json")[0])[0]["verb"] == "square"
    assert json.loads(said("undo", "photos", "--json")[0])[0]["state"] == "undone"


def test_all_steps_come_back_at_once(said, tmp_path):
    before = look(tmp_path / "photos")
    said("square", "photos")
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(tmp_path / "photos/new.webp")
    said("convert", "photos")
    said("flatten", "photos")
    (tmp_path / "photos/0.png").write_bytes(b"by hand")
    _, err = said("undo", "photos", "--all", code=2)
    assert "cannot undo step 1 (square): 1 file changed since: 0.png" in err
    out, _ = said("undo", "photos", "--all", "--keep-edits")
    assert out.splitlines()[-1] == "photos is as it was before step 1"
    (tmp_path / "photos/new.webp").unlink()
    assert look(tmp_path / "photos") == before
    assert [s.state for s in read_history(tmp_path / "photos")] == ["undone"] * 3


def test_import(said, tmp_path):
    out, _ = said("import", "photos", "-o", "set", "--dry-run")
    assert out.splitlines()[-1] == "photos: 3 images; nothing was copied"
    out, _ = said("import", "photos", "-o", "set")
    assert out == (
        "photos: 3 images; step 1, 6 files added\n"
        "undo the last step with: bakehouse dataset undo set\n"
    )  # fmt: skip
    assert said("import", "photos", "-o", "set")[0] == "photos: no new files\n"
    assert {n: d for n, (d, _) in look(tmp_path / "set").items()} == {
        n: d for n, (d, _) in look(tmp_path / "photos").items()
    }


def test_import_says_what_becomes_of_tag_files(said, tmp_path):
    texts = {
        "0.txt": "score_9\nlong_hair\nrating:general\nartist:some_one\n1girl",
        "1.txt": "white background\nhat",  # one tag a line, as in the others
        "2.txt": "zwx person, smiling",
        "2.json": '{"tags_general": ["1girl", "blue_eyes"]}',
    }
    for name, text in texts.items():
        (tmp_path / "photos" / name).write_text(text)
    _, err = said("import", "photos", "-o", "set")
    assert "2.png: its captions differ; 2.txt is used, not 2.json" in err
    assert "tags left out because they do not describe the image: artist 1, rating 1" in err
    assert "--artists keeps artists; --ratings keeps ratings" in err
    captions = {n: (tmp_path / "set" / n).read_text() for n in ("0.txt", "1.txt", "2.txt")}
    assert captions == {
        "0.txt": "score_9, long hair, 1girl",
        "1.txt": "white background, hat",
        "2.txt": "zwx person, smiling",
    }
    said("import", "photos", "-o", "all", "--artists", "--ratings", "--underscores")
    assert (tmp_path / "all/0.txt").read_text() == "some_one, score_9, long_hair, 1girl, rating:general"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("square", "gone"), "gone does not exist"),
        (("square", "photos", "--fill", "whit"), "'whit' is not a colour"),
        (("undo", "photos"), "there is nothing to undo"),
        (("import", "gone", "-o", "set"), "gone does not exist"),
        (("square", "photos", "-o", "photos"), "one contains the other"),
    ],
)
def test_wrong_words_are_answered(said, words, message):
    assert message in said(*words, code=2)[1]


DAMAGED = {
    "trim": ("trim",),
    "square": ("square",),
    "flatten": ("flatten",),
    "convert": ("convert", "--frames", "all"),
    "mask": ("mask", "--color", "white"),
}


@pytest.mark.parametrize("words", DAMAGED.values(), ids=DAMAGED)
def test_an_image_that_fails_when_it_is_decoded_is_named_and_the_others_go_on(words, said, tmp_path):
    photos = tmp_path / "photos"
    framed = Image.new("RGBA", (400, 300), "white")
    framed.paste((200, 30, 30, 100), (60, 0, 300, 260))
    framed.save(photos / "good.webp", lossless=True)
    Image.fromarray(np.full((64, 64), np.nan, np.float32)).save(photos / "nan.tiff")
    framed.save(photos / "cut.png")
    whole = (photos / "cut.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    for way in (["--dry-run"], ["-o", "plain"]):
        _, err = said(words[0], "photos", *words[1:], *way)
        assert "skipped nan.tiff: the file is damaged" in err
        assert "skipped cut.png: the file is damaged" in err


@pytest.mark.parametrize("verb", ["trim", "square"])
def test_an_image_whose_mask_is_damaged_is_named_and_the_others_go_on(verb, said, tmp_path):
    photos = tmp_path / "photos"
    framed = Image.new("RGB", (400, 300), "white")
    framed.paste(Image.effect_noise((240, 240), 90), (60, 20))
    for name in ("a", "b"):
        framed.save(photos / f"{name}.png")
    (photos / "masks").mkdir()
    framed.convert("L").save(photos / "masks" / "b.png")
    (photos / "masks" / "b.png").write_bytes((photos / "masks" / "b.png").read_bytes()[:60])
    before = (photos / "b.png").read_bytes()
    _, err = said(verb, "photos", "--preview", "page.html")
    assert "skipped b.png: " in (tmp_path / "page.html").read_text()
    _, err = said(verb, "photos")
    assert "skipped b.png: " in err
    assert (photos / "b.png").read_bytes() == before
    assert image_size(photos / "a.png") != (400, 300)


def test_an_image_that_is_damaged_after_the_first_look_is_named_and_passed_over(tmp_path):
    framed = Image.new("RGB", (400, 300), "white")
    framed.paste(Image.effect_noise((240, 240), 90), (60, 20))
    for name in ("a", "b"):
        framed.save(tmp_path / f"{name}.png")
    images = scan(tmp_path)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:100])
    told = []
    (proposal,) = collect_proposals(Trim(), images, told.append)
    assert proposal.path.name == "b.png"
    (warning,) = [event.message for event in told if hasattr(event, "message")]
    assert warning.startswith("skipped a.png: the file is damaged")


def moving(path):
    frames = [Image.new("RGB", (96, 64), color) for color in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("way", [["--dry-run"], ["-o", "copy"], ["--preview", "page.html"]])
def test_json_has_the_warnings_that_are_printed(way, said, tmp_path):
    moving(tmp_path / "photos" / "moving.gif")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    _, err = said("square", "photos", "--dry-run")
    out, _ = said("square", "photos", *way, "--json")
    document = json.loads(out)
    assert [f"warning: {w}" for w in document["warnings"]] == [
        line for line in err.splitlines() if "moving.gif" in line
    ]
    assert document["skipped"][0]["path"].endswith("broken.png")
    assert document["notes"] == []


def test_json_has_warnings_where_nothing_changes_and_of_an_import(said, tmp_path):
    said("square", "photos")
    assert json.loads(said("square", "photos", "--json")[0])["warnings"] == []
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    _, err = said("import", "photos", "-o", "plain")
    document = json.loads(said("import", "photos", "-o", "other", "--json")[0])
    assert document["warnings"] and all(f"warning: {w}" in err for w in document["warnings"])
