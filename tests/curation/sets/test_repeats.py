"""The guide's example, what is written, and that trainers' readers read it."""

from __future__ import annotations

import json
import math

import pytest

from bakehouse.core.errors import UsageError
from bakehouse.curation.apply_and_undo import undo
from bakehouse.curation.operation import apply_operation
from bakehouse.curation.repeats import Repeats, find_concepts, repeat_warnings
from bakehouse.data import read_dataset, scan

from .make_images import put, scene


def dataset(folder, **counts):
    """Folders of so many tiny images; `__` in a name is a slash or a space where it must be."""
    for name, count in counts.items():
        put(folder / name.removeprefix("n"), **{f"{i:03}_png": scene(i, 16, 16 + i % 3) for i in range(count)})
        for path in (folder / name.removeprefix("n")).glob("*.png"):
            path.with_suffix(".txt").write_text(f"{name}, {path.stem}")
    return folder


def test_the_guides_example():
    rows = Repeats().solve({"main": 100, "outfit a": 50, "outfit b": 10})
    assert [(r.name, r.repeats, r.shows) for r in rows] == [
        ("main", 3, 300),
        ("outfit a", 6, 300),
        ("outfit b", 30, 300),
    ]
    assert list(repeat_warnings(rows)) == []


def test_sub_concepts_are_shown_less():
    rows = Repeats(sub=("hat",)).solve({"main": 100, "hat": 20})
    assert [(r.repeats, r.shows, r.target) for r in rows] == [(3, 300, 300), (5, 100, 100)]
    with pytest.raises(UsageError, match="did you mean 'hat'"):
        Repeats(sub=("hta",)).solve({"main": 100, "hat": 20})


def test_a_fair_number_near_the_wished_one_is_taken():
    rows = Repeats(shows=100).solve({"a": 40, "b": 20})
    assert [(r.repeats, r.shows) for r in rows] == [(2, 80), (4, 80)]


def test_what_cannot_be_balanced_is_told():
    (told,) = repeat_warnings(Repeats().solve({"many": 500, "few": 30}))
    assert told.startswith("many: 500 images x 1 = 500")


def test_folders_are_renamed_whole_and_come_back(tmp_path):
    dataset(tmp_path, **{"n1_zwx person": 10, "n9_zwx hat": 5, "nreg/1_person": 4})
    (tmp_path / "1_zwx person" / "notes.md").write_text("kept")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    step = apply_operation(tmp_path, Repeats(shows=60))
    assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] != ".") == ["12_zwx hat", "6_zwx person", "reg"]
    assert (tmp_path / "6_zwx person" / "notes.md").is_file()
    assert len(step.changes) == 2 * (2 * 15 + 1)
    assert [(c.class_tokens, c.repeats, len(c.records)) for c in read_dataset(tmp_path) if not c.is_reg] == [
        ("zwx hat", 12, 5),
        ("zwx person", 6, 10),
    ]
    assert apply_operation(tmp_path, Repeats(shows=60)) is None
    undo(tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and ".bakehouse" not in p.parts} == before


def test_a_folder_without_folders_becomes_one_concept(tmp_path):
    apply_operation(dataset(tmp_path, mira=5) / "mira", Repeats(shows=60))
    assert [(c.class_tokens, c.repeats, c.records[0].captions[0]) for c in read_dataset(tmp_path / "mira")] == [
        ("mira", 12, "mira, 000")
    ]


def test_kohyas_toml_is_read_again(tmp_path):
    dataset(tmp_path, **{"n1_a": 10, "n1_b": 5, "nreg/2_person": 4})
    apply_operation(tmp_path, Repeats(shows=60, write="toml", resolution=768, batch=2))
    found = {c.class_tokens: c for c in read_dataset(tmp_path / "dataset.toml")}
    assert {name: (c.repeats, c.is_reg, len(c.records)) for name, c in found.items()} == {
        "a": (6, False, 10),
        "b": (12, False, 5),
        "person": (2, True, 4),
    }
    assert found["a"].records[0].captions == ("n1_a, 000",)
    written = (tmp_path / "dataset.toml").read_text()
    for line in ('caption_extension = ".txt"', "resolution = 768", "batch_size = 2"):
        assert line in written


def test_metadata_is_read_again(tmp_path):
    dataset(tmp_path, **{"n1_a": 3, "n1_b": 2, "nreg/2_person": 4})
    (tmp_path / "1_b" / "000.txt").unlink()
    apply_operation(tmp_path, Repeats(shows=6, write="jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert lines[0] == {"file_name": "1_a/000.png", "text": "n1_a, 000", "repeats": 2}
    assert lines[3] == {"file_name": "1_b/000.png", "text": "b", "repeats": 3}
    assert len(lines) == 5
    (concept,) = read_dataset(tmp_path)
    assert {r.captions[0] for r in concept.records} >= {line["text"] for line in lines}


def test_steps_are_those_of_a_trainer(tmp_path):
    images = scan(dataset(tmp_path, n1_a=7, n1_b=5))
    verb = Repeats(shows=40, batch=4, resolution=64)
    rows = verb.rows(images)
    shown = sum(row.shows for row in rows)
    assert verb.model_copy(update={"batch": 1}).steps(images, rows) == shown
    assert math.ceil(shown / 4) <= verb.steps(images, rows) <= math.ceil(shown / 4) + 2


def test_class_images_that_nobody_would_see_are_told(tmp_path):
    images = scan(dataset(tmp_path, **{"n1_a": 3, "nreg/5_person": 4}))
    (told,) = repeat_warnings(Repeats(shows=6).rows(images), find_concepts(images))
    assert told.startswith("reg: 20 class images per epoch, 14 more")


def test_two_folders_of_one_name(tmp_path):
    with pytest.raises(UsageError, match="two folders for concept 'a': 1_a, 2_a"):
        Repeats().rows(scan(dataset(tmp_path, n1_a=1, n2_a=1)))
