"""Captions on disk: compiled from raw tags that are kept, as a step that can be taken back."""

from __future__ import annotations

import pytest
from PIL import Image

from bakehouse.captions.triggers import Compile, find_triggers
from bakehouse.core.errors import UsageError
from bakehouse.core.events import Warned
from bakehouse.curation.apply_and_undo import undo
from bakehouse.curation.operation import apply_operation
from bakehouse.data import scan
from bakehouse.data.triggers import Trigger

ZWX = Trigger(word="zwx", class_word="person")


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "set"
    place.mkdir()
    for i in range(3):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(place / f"{i}.png")
        (place / f"{i}.txt").write_text(f"person, blue eyes, red dress, pose {i}\n")
    return place


def texts(folder, suffix=".txt"):
    return [(folder / f"{i}{suffix}").read_text() for i in range(3)]


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_raw_tags_are_kept_and_strategies_exchanged(folder):
    raw = texts(folder)
    apply_operation(folder, Compile(triggers=(ZWX,)))
    semi = texts(folder)
    assert semi[1] == "zwx person, red dress, pose 1\n" and texts(folder, ".tags") == raw
    apply_operation(folder, Compile(triggers=(ZWX.model_copy(update={"strategy": "static"}),)))
    assert texts(folder)[1] == "zwx person, pose 1\n" and texts(folder, ".tags") == raw
    apply_operation(folder, Compile(triggers=(ZWX,)))
    assert texts(folder) == semi


def test_twice_is_once_and_undo_is_byte_for_byte(folder):
    before = files(folder)
    assert apply_operation(folder, Compile(triggers=(ZWX,))) is not None
    assert apply_operation(folder, Compile(triggers=(ZWX,))) is None
    undo(folder)
    assert files(folder) == before


def test_what_was_changed_by_hand_is_left_alone_unless_told(folder):
    apply_operation(folder, Compile(triggers=(ZWX,)))
    (folder / "1.txt").write_text("mine\n")
    fluid = Compile(triggers=(ZWX.model_copy(update={"strategy": "fluid"}),))
    told = [e.message for e in fluid.propose(scan(folder)) if isinstance(e, Warned)]
    assert len(told) == 1 and told[0].startswith("1.txt") and ".tags" in told[0]
    apply_operation(folder, fluid)
    assert texts(folder)[1] == "mine\n" and "blue eyes" in texts(folder)[0]
    apply_operation(folder, fluid.model_copy(update={"overwrite": True}))
    assert texts(folder)[1] == "zwx person, blue eyes, red dress, pose 1\n"


def test_captions_in_json_get_a_text_file(folder):
    (folder / "0.txt").unlink()
    (folder / "0.json").write_text('{"tags": ["person", "blue eyes", "red dress"]}')
    apply_operation(folder, Compile(triggers=(ZWX,)))
    assert texts(folder)[0] == "zwx person, red dress\n"
    assert texts(folder, ".tags")[0] == "person, blue eyes, red dress\n"
    assert scan(folder)[0].captions == ("zwx person, red dress",)


def test_two_wordings_are_two_lines_and_the_mark_stands_between(folder):
    fit = Trigger(word="fit", kind="outfit", also_without=True)
    apply_operation(folder, Compile(triggers=(ZWX, fit), mark="|||"))
    assert texts(folder)[2] == "zwx person, fit ||| pose 2\nzwx person ||| red dress, pose 2\n"


def test_raw_tags_go_where_their_image_goes(folder):
    from bakehouse.curation.sidecars import sidecar_files

    apply_operation(folder, Compile(triggers=(ZWX,)))
    images = scan(folder)
    assert {p.name for p in sidecar_files(images[0], images)} == {"0.txt", "0.tags"}


def test_triggers_are_found_in_the_folder_beside_it_and_in_recipes(folder):
    with pytest.raises(UsageError, match=r"there is no .*triggers\.toml"):
        find_triggers(folder)
    beside = folder.parent / "triggers.toml"
    beside.write_text('[[triggers]]\nword = "a"\n')
    assert find_triggers(folder)[0].word == "a"
    (folder / "triggers.toml").write_text('[[triggers]]\nword = "b"\n')
    assert find_triggers(folder)[0].word == "b"
    recipe = folder.parent / "me.toml"
    recipe.write_text('[[concepts]]\nfolder = "set"\n[[triggers]]\nword = "c"\n')
    assert find_triggers(folder, recipe)[0].word == "c"


def test_metadata_files_are_not_rewritten(folder):
    (folder / "metadata.jsonl").write_text("")
    with pytest.raises(UsageError, match=r"metadata\.jsonl"):
        apply_operation(folder, Compile(triggers=(ZWX,)))
