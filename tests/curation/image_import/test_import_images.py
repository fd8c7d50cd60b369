"""Everything that comes from outside arrives whole, once, with its captions; and the source is only read."""

from __future__ import annotations

import json
import os
import stat
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bakehouse.cli.main import main
from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.core.events import Warned
from bakehouse.curation.apply_and_undo import HISTORY_FOLDER, read_history, undo
from bakehouse.curation.image_import import ImportOptions, import_sources
from bakehouse.curation.image_import import import_images as module
from bakehouse.data import read_dataset, scan


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (64, 48), caption: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8))
    small.resize(size, Image.Resampling.BICUBIC).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def look(folder: Path) -> dict[str, tuple[bytes, int]]:
    paths = [p for p in folder.rglob("*") if p.is_file() and HISTORY_FOLDER not in p.parts]
    return {p.relative_to(folder).as_posix(): (p.read_bytes(), p.stat().st_mtime_ns) for p in paths}


def names(folder: Path) -> set[str]:
    return set(look(folder))


def heap(folder: Path) -> Path:
    picture(folder / "a.png", 1, caption="a cat")
    picture(folder / "deep/b.jpg", 2, caption="a dog\na hound")
    picture(folder / "masks/a.png", 3)
    (folder / "._a.png").write_bytes(b"junk")
    (folder / "broken.png").write_bytes(b"<html>")
    return folder


ARRIVED = {"a.png", "a.txt", "deep/b.jpg", "deep/b.txt", "masks/a.png"}


def test_a_folder_arrives_as_it_is_and_only_once(tmp_path):
    source = heap(tmp_path / "heap")
    before, told = look(source), []
    (taken,) = import_sources([source], tmp_path / "set", on_event=told.append)
    assert look(source) == before
    assert names(tmp_path / "set") == ARRIVED
    assert all(look(tmp_path / "set")[name][0] == before[name][0] for name in ARRIVED)
    assert taken.step.operation == "import"
    assert any("broken.png" in getattr(event, "message", "") for event in told)
    assert import_sources([source], tmp_path / "set")[0].step is None
    undo(tmp_path / "set")
    assert names(tmp_path / "set") == set()


def test_what_arrives_is_as_old_as_it_was(tmp_path):
    source = heap(tmp_path / "heap")
    made = 1_500_000_000_123_456_789
    for count, path in enumerate(sorted(p for p in source.rglob("*") if p.is_file())):
        os.utime(path, ns=(made + count, made + count))
    import_sources([source], tmp_path / "set")
    arrived, before = look(tmp_path / "set"), look(source)
    assert arrived == {name: before[name] for name in ARRIVED}
    (tmp_path / "set/own.png").write_bytes((source / "a.png").read_bytes())
    held = look(tmp_path / "set")
    import_sources([source / "deep", picture(tmp_path / "c.png", 9)], tmp_path / "set")
    for _ in range(2):
        undo(tmp_path / "set")
    assert look(tmp_path / "set") == held
    undo(tmp_path / "set")
    assert names(tmp_path / "set") == {"own.png"}


def test_an_archive_says_how_old_its_files_are(tmp_path):
    image = picture(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(zipfile.ZipInfo("a.png", (2019, 5, 4, 3, 2, 2)), image.read_bytes())
        file.writestr(zipfile.ZipInfo("b.png", (2020, 0, 0, 0, 0, 0)), picture(tmp_path / "b.png", 1).read_bytes())
    import_sources([tmp_path / "a.zip"], tmp_path / "set")
    assert time.localtime((tmp_path / "set/a.png").stat().st_mtime)[:6] == (2019, 5, 4, 3, 2, 2)
    assert (tmp_path / "set/b.png").is_file()


def test_again_takes_only_what_is_new_and_spares_the_work_of_hands(tmp_path):
    source = heap(tmp_path / "heap")
    import_sources([source], tmp_path / "set")
    (tmp_path / "set/a.txt").write_text("by hand")
    (tmp_path / "set/deep/b.jpg").unlink()
    picture(source / "c.png", 5)
    (taken,) = import_sources([source], tmp_path / "set")
    assert {str(c.path) for c in taken.step.changes} == {"c.png"}
    assert (tmp_path / "set/a.txt").read_text() == "by hand"
    assert not (tmp_path / "set/deep/b.jpg").exists()


def test_several_sources_get_folders_of_their_own(tmp_path):
    one, two = heap(tmp_path / "one"), heap(tmp_path / "two")
    alone = picture(tmp_path / "alone.png", 9, caption="alone")
    import_sources([one, two, alone], tmp_path / "set")
    assert names(tmp_path / "set") == ARRIVED | {f"two/{name}" for name in ARRIVED} | {
        "alone/alone.png",
        "alone/alone.txt",
    }
    assert [s.settings["into"] for s in read_history(tmp_path / "set")] == [".", "two", "alone"]
    import_sources([two], tmp_path / "set")
    assert len(read_history(tmp_path / "set")) == 3


def test_dry_run_writes_nothing(tmp_path):
    (taken,) = import_sources([heap(tmp_path / "heap")], tmp_path / "set", dry_run=True)
    assert {str(p.path) for p in taken.proposals} == {"a.png", "deep/b.jpg"}
    assert not (tmp_path / "set").exists()


def test_images_of_one_stem_get_apart(tmp_path):
    for suffix in ("png", "jpg"):
        picture(tmp_path / f"heap/a.{suffix}", len(suffix), caption="both")
    import_sources([tmp_path / "heap"], tmp_path / "set")
    images = scan(tmp_path / "set")
    assert len(images) == 2
    assert len({r.path.stem for r in images}) == 2
    assert {r.captions for r in images} == {("both",)}


def test_tag_files_of_downloaders_become_captions(tmp_path):
    picture(tmp_path / "dl/1.png")
    (tmp_path / "dl/1.png.json").write_text(json.dumps({"id": 1, "tags_general": ["long_hair"], "tags_artist": ["x"]}))
    picture(tmp_path / "dl/2.png", 2)
    (tmp_path / "dl/2.txt").write_text("1girl|blue_eyes|artist:x")
    import_sources([tmp_path / "dl"], tmp_path / "set")
    assert [r.captions for r in scan(tmp_path / "set")] == [("long hair",), ("1girl, blue eyes",)]
    assert not list((tmp_path / "set").glob("*.json"))
    import_sources([tmp_path / "dl"], tmp_path / "kept", ImportOptions(captions="keep"))
    assert (tmp_path / "kept/2.txt").read_text() == "1girl|blue_eyes|artist:x"
    import_sources([tmp_path / "dl"], tmp_path / "bare", ImportOptions(captions="none"))
    assert names(tmp_path / "bare") == {"1.png", "2.png"}


def test_only_what_does_not_come_is_told(tmp_path):
    """Tag files and animations are made into what is wanted: a warning about them would send people to mend it."""
    picture(tmp_path / "heap/a.png", 1, caption="1girl\nlong_hair\nsmile\nblue_eyes")
    picture(tmp_path / "heap/b.png", 2)
    (tmp_path / "heap/b.txt").write_bytes("a caf\u00e9".encode("cp1252"))
    frames = [Image.new("RGB", (64, 48), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "heap/c.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "heap/d.jpg").write_bytes(b"<html>")
    told = []
    import_sources([tmp_path / "heap"], tmp_path / "set", on_event=told.append)
    (message,) = [event.message for event in told if isinstance(event, Warned)]
    assert "d.jpg" in message


# --- layouts ----------------------------------------------------------------------------------------------------------


def concepts(folder: Path) -> list[tuple[str | None, int | None, bool, list[tuple[str, ...]]]]:
    return [(c.class_tokens, c.repeats, c.is_reg, [r.captions for r in c.records]) for c in read_dataset(folder)]


def test_kohya_folders_arrive_as_such(tmp_path):
    picture(tmp_path / "kohya/img/10_zwx person/a.png", 1, caption="zwx")
    picture(tmp_path / "kohya/reg/1_person/b.png", 2)
    import_sources([tmp_path / "kohya"], tmp_path / "set")
    assert names(tmp_path / "set") == {"10_zwx person/a.png", "10_zwx person/a.txt", "reg/1_person/b.png"}
    assert concepts(tmp_path / "set") == concepts(tmp_path / "kohya")


def test_a_kohya_toml(tmp_path):
    picture(tmp_path / "photos/a.png", 1)
    picture(tmp_path / "class/b.png", 2)
    (tmp_path / "set.toml").write_text(
        """
        [[datasets]]
        [[datasets.subsets]]
        image_dir = "photos"
        class_tokens = "zwx person"
        num_repeats = 7
        [[datasets.subsets]]
        image_dir = "class"
        class_tokens = "person"
        is_reg = true
        """
    )
    import_sources([tmp_path / "set.toml"], tmp_path / "set")
    assert concepts(tmp_path / "set") == [("zwx person", 7, False, [()]), ("person", 1, True, [()])]


def test_dreambooth_concepts_list(tmp_path):
    picture(tmp_path / "me/a.png", 1)
    picture(tmp_path / "people/b.png", 2)
    concept = {"instance_prompt": "photo of zwx/me", "class_prompt": "person"}
    concept |= {"instance_data_dir": "me", "class_data_dir": "people"}
    (tmp_path / "concepts_list.json").write_text(json.dumps([concept]))
    import_sources([tmp_path / "concepts_list.json"], tmp_path / "set")
    assert concepts(tmp_path / "set") == [("photo of zwx_me", 1, False, [()]), ("person", 1, True, [()])]


def test_hugging_face_metadata(tmp_path):
    picture(tmp_path / "hf/a.png", 1, caption="not this")
    (tmp_path / "hf/metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "text": "a cat"}) + "\n")
    import_sources([tmp_path / "hf/metadata.jsonl"], tmp_path / "set")
    assert [r.captions for r in scan(tmp_path / "set")] == [("a cat",)]


# --- archives ---------------------------------------------------------------------------------------------------------


def packed(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for one in sorted(folder.rglob("*")):
            file.write(one, one.relative_to(folder))
    return path


def test_a_zip_arrives_as_its_folder_would(tmp_path):
    archive = packed(tmp_path / "heap.zip", heap(tmp_path / "heap"))
    import_sources([archive], tmp_path / "set")
    assert names(tmp_path / "set") == ARRIVED
    assert import_sources([archive], tmp_path / "set")[0].step is None
    assert not list((tmp_path / "set" / HISTORY_FOLDER / "import").glob("*"))


@pytest.mark.parametrize("name", ["../out.png", "/out.png", "a/../../out.png", "c:\\out.png", "..\\out.png"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("fine.png", picture(tmp_path / "x.png").read_bytes())
        file.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(Problems, match=r"not safe to unpack(.|\n)*leads out"):
        import_sources([tmp_path / "evil.zip"], tmp_path / "set")
    assert not (tmp_path / "out.png").exists()
    assert names(tmp_path / "set") == set()


def test_links_in_archives_are_refused(tmp_path):
    info = zipfile.ZipInfo("a.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(Problems, match="is a link"):
        import_sources([tmp_path / "evil.zip"], tmp_path / "set")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file,
        file.open("a.bmp", "w", force_zip64=True) as out,
    ):
        for _ in range(300):
            out.write(bytes(1 << 20))
    with pytest.raises(UsageError, match=r"would unpack to 0\.3 GB from 0\.3 MB"):
        import_sources([tmp_path / "bomb.zip"], tmp_path / "set")


def test_encrypted_and_damaged_archives_are_named(tmp_path):
    archive = packed(tmp_path / "a.zip", heap(tmp_path / "heap"))
    data = bytearray(archive.read_bytes())
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(UsageError, match=r"cannot import .*cut\.zip: unknown format"):
        import_sources([tmp_path / "cut.zip"], tmp_path / "set")
    at = data.index(b"PK\x03\x04") + 60
    (tmp_path / "bad.zip").write_bytes(data[:at] + b"\xff" * 20 + data[at + 20 :])
    with pytest.raises(BakehouseError, match=r"cannot unpack .*bad\.zip"):
        import_sources([tmp_path / "bad.zip"], tmp_path / "set")
    central = data.index(b"PK\x01\x02")
    data[central + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(data)
    with pytest.raises(UsageError, match=r"locked\.zip is encrypted"):
        import_sources([tmp_path / "locked.zip"], tmp_path / "set")


def test_japanese_names_without_the_mark_for_utf8(tmp_path):
    image = picture(tmp_path / "x.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("AAAA.png", image)
    data = (tmp_path / "a.zip").read_bytes().replace(b"AAAA", "猫耳".encode("cp932"))
    (tmp_path / "a.zip").write_bytes(data)
    import_sources([tmp_path / "a.zip"], tmp_path / "set")
    assert names(tmp_path / "set") == {"猫耳.png"}


# --- moving pictures --------------------------------------------------------------------------------------------------


def film(path: Path, *, scenes: int = 3, frames: int = 20, noise: float = 3.0) -> Path:
    """Scenes that hold still, one frame of each sharp and the others out of focus."""
    import cv2
    from PIL import ImageFilter

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (96, 64))
    rng = np.random.default_rng(0)
    for scene in range(scenes):
        blocks = np.random.default_rng(scene).integers(0, 255, (8, 12, 3), dtype=np.uint8)
        sharp = Image.fromarray(blocks).resize((96, 64), Image.Resampling.NEAREST)
        for i in range(frames):
            shown = sharp if i == frames // 2 else sharp.filter(ImageFilter.GaussianBlur(1.2))
            array = np.asarray(shown, dtype=np.float64) + rng.normal(0, noise, (64, 96, 3))
            writer.write(np.clip(array, 0, 255).astype(np.uint8)[..., ::-1])
    writer.release()
    return path


def test_of_a_film_the_sharpest_of_each_scene_arrives(tmp_path):
    pytest.importorskip("cv2")
    source = film(tmp_path / "film.avi")
    import_sources([source], tmp_path / "set", ImportOptions(per_second=20, alike=120))
    assert names(tmp_path / "set") == {f"film-000{scene + 1}-{scene * 20 + 10:07d}.png" for scene in range(3)}
    assert import_sources([source], tmp_path / "set", ImportOptions(per_second=20, alike=120))[0].step is None


def test_scenes_that_come_back_arrive_once_and_most_is_most(tmp_path):
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 20, (96, 64))
    faces = [Image.new("RGB", (96, 64), colour) for colour in ("navy", "orange")]
    for i in range(80):
        writer.write(np.asarray(faces[i // 10 % 2])[..., ::-1].copy())
    for i in range(40):  # a ball that rolls
        frame = Image.new("RGB", (96, 64), "white")
        frame.paste("black", (2 * i, 20, 2 * i + 16, 40))
        writer.write(np.asarray(frame)[..., ::-1].copy())
    writer.release()
    import_sources([tmp_path / "film.avi"], tmp_path / "set", ImportOptions(per_second=20, per_scene=4))
    scenes = [name.split("-")[1] for name in sorted(names(tmp_path / "set"))]
    assert {scene: scenes.count(scene) for scene in scenes} == {"0001": 1, "0002": 1, "0009": 4}


def test_films_and_animations_among_downloads(tmp_path):
    pytest.importorskip("cv2")
    film(tmp_path / "dl/clip.avi", scenes=2, frames=5)
    (tmp_path / "dl/clip.avi.txt").write_text("1girl|long_hair")
    stills = [Image.new("RGB", (64, 48), c) for c in ("red", "red", "blue")]
    stills[1].putpixel((0, 0), (250, 0, 0))
    stills[0].save(tmp_path / "dl/moving.gif", save_all=True, append_images=stills[1:])
    import_sources([tmp_path / "dl"], tmp_path / "set", ImportOptions(alike=60))
    found = names(tmp_path / "set")
    assert {n for n in found if "moving" in n} == {"moving.png", "moving-0003.png"}
    (tmp_path / "set/moving.png").unlink()
    assert import_sources([tmp_path / "dl"], tmp_path / "set", ImportOptions(alike=60))[0].step is None
    clips = [r for r in scan(tmp_path / "set") if "clip" in r.path.name]
    assert len(clips) == 2
    assert {r.captions for r in clips} == {("1girl, long hair",)}


def test_a_stopped_import_does_not_look_at_a_film_twice(tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    source = film(tmp_path / "film.avi")

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "apply_proposals", stopped)
    with pytest.raises(KeyboardInterrupt):
        import_sources([source], tmp_path / "set")
    monkeypatch.undo()
    monkeypatch.setattr(module, "extract_frames", stopped)
    assert import_sources([source], tmp_path / "set")[0].step is not None


def test_a_damaged_film_prints_nothing_of_its_own(tmp_path, capfd):
    """OpenCV's readers write bytes of the file to standard error, control characters too."""
    film(tmp_path / "film.avi")
    data = (tmp_path / "film.avi").read_bytes().replace(b"avih", b"a\x1dih").replace(b"strl", b"st\x1dl")
    (tmp_path / "film.avi").write_bytes(data[: data.index(b"movi")])
    with pytest.raises(SystemExit):
        main(["dataset", "import", str(tmp_path / "film.avi"), "--out", str(tmp_path / "set")])
    out = capfd.readouterr()
    assert "film.avi" in out.err
    assert "\x1d" not in out.out + out.err and "avih" not in out.err


def test_what_is_no_film_is_named(tmp_path):
    pytest.importorskip("cv2")
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(BakehouseError, match=r"cannot read .*a\.mp4: no frame"):
        import_sources([tmp_path / "a.mp4"], tmp_path / "set")


# --- refused ----------------------------------------------------------------------------------------------------------


def test_wrong_sources_are_named(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(UsageError, match=r"cannot import .*a\.pdf: unknown format"):
        import_sources([tmp_path / "a.pdf"], tmp_path / "set")
    with pytest.raises(UsageError, match="does not exist"):
        import_sources([tmp_path / "gone"], tmp_path / "set")
    source = heap(tmp_path / "heap")
    for target in (source, source / "set", tmp_path):
        with pytest.raises(UsageError, match="one contains the other"):
            import_sources([source], target)
