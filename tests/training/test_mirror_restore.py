"""A run is copied back from its mirror, and goes on from there to the same bits."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file

from bakehouse.core.events import Noted, Progress, Started, Step, Warned
from bakehouse.core.file_store import open_store
from bakehouse.core.run_folder import Run
from bakehouse.training import train
from bakehouse.training.mirror_files import mirrored_files
from bakehouse.training.mirror_restore import restore_from_mirror

FINAL = "weights/zwx-person.safetensors"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr("os.setpriority", lambda *_: None)  # on a busy machine the copy would wait for minutes


@pytest.fixture
def copied(recipe, tmp_path):
    """A run of two epochs that was trained to its end, and its copy behind a URL."""
    mirrored = recipe(train__epochs=2, save__mirror="memory://restored")
    list(train(mirrored, tmp_path / "me"))
    yield mirrored, Run(tmp_path / "me")
    open_store("memory://").remove("restored")


def test_a_run_goes_on_from_what_was_copied_back(copied, tmp_path):
    mirrored, run = copied
    whole, files = load_file(run.folder / FINAL), {f.name: f.stamp for f in mirrored_files(run)}
    last = max(run.states.iterdir())
    shutil.rmtree(run.folder)
    events = list(restore_from_mirror("memory://restored", run))
    assert isinstance(events[-1], Noted) and f"up to step {int(last.name[5:])}" in events[-1].message
    found = {f.name: f.stamp for f in mirrored_files(run)}
    assert found.keys() == files.keys()
    same = {name for name in files if found[name] == files[name]}
    assert files.keys() - same <= {"events.jsonl"}  # the mirror does not copy them again
    assert not list(restore_from_mirror("memory://restored", run)), "it is all there"

    (run.folder / FINAL).unlink()
    shutil.rmtree(last)
    open_store("memory://").remove("restored")  # it would be ahead
    events = list(train(mirrored, run.folder))
    assert next(e for e in events if isinstance(e, Started)).step > 0
    assert [e for e in events if isinstance(e, Step)]
    resumed = load_file(run.folder / FINAL)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_an_interrupted_way_back_goes_on(copied):
    _, run = copied
    shutil.rmtree(run.folder)
    events = restore_from_mirror("memory://restored", run)
    for event in events:
        if isinstance(event, Progress) and event.done == 3:
            break
    events.close()
    assert run.inputs.is_file() and not run.states.exists()
    first = next(restore_from_mirror("memory://restored", run))
    assert first.done == 0
    list(restore_from_mirror("memory://restored", run))
    assert (run.folder / FINAL).is_file()
    assert not list(run.folder.rglob(".*.part"))


def test_files_that_the_mirror_lacks_are_named_unless_they_are_of_an_older_state(copied):
    _, run = copied
    store = open_store("memory://restored/me")
    older, _ = sorted(run.states.iterdir())
    store.remove(f"checkpoints/{older.name}")
    store.remove(FINAL)
    shutil.rmtree(run.folder)
    (warned,) = [e for e in restore_from_mirror("memory://restored", run) if isinstance(e, Warned)]
    assert warned.message == f"memory://restored/me lacks 1 file that it lists: {FINAL}"


def test_nothing_is_copied_over_a_run_that_is_further(copied):
    _, run = copied
    store = open_store("memory://restored/me")
    shutil.rmtree(min(run.states.iterdir()))
    before = {f.name: f.stamp for f in mirrored_files(run)}
    assert not list(restore_from_mirror("memory://restored", run))
    assert {f.name: f.stamp for f in mirrored_files(run)} == before
    assert store.read("mirror.json")


def test_without_a_copy_there_is_nothing_to_do(tmp_path):
    assert not list(restore_from_mirror(str(tmp_path / "drive"), Run(tmp_path / "me")))
    assert not (tmp_path / "me").exists()


def test_the_command_needs_a_mirror_to_restore_from(tmp_path, capsys):
    from bakehouse.cli.main import main
    from tests.serve.conftest import png

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(png((128, 128)))
    with pytest.raises(SystemExit):
        main(["train", str(tmp_path / "photos"), "--subject", "zwx girl", "--restore", "--run", str(tmp_path / "me")])
    assert "--restore: the recipe has no save.mirror" in capsys.readouterr().err
