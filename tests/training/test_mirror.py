"""A copy of the run elsewhere: a training can be resumed from it, and never waits for it or fails by it."""

from __future__ import annotations

import shutil
import threading

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Finished, Noted, Saved, Step, Warned
from bakehouse.core.file_store import FolderStore, open_store
from bakehouse.core.files import read_json
from bakehouse.core.run_folder import Run
from bakehouse.training import mirror, train
from bakehouse.training.mirror_files import mirrored_files, superseded

FINAL = "weights/zwx-person.safetensors"


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(mirror, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(mirror, "RETRIES", (0.01,))
    monkeypatch.setattr("os.setpriority", lambda *_: None)  # on a busy machine the copy would wait for minutes


def same_files(run, copy):
    names = {f.name for f in mirrored_files(Run(run))}
    assert {f.name for f in mirrored_files(Run(copy))} == names
    assert all((run / name).read_bytes() == (copy / name).read_bytes() for name in names)


def test_a_training_goes_on_from_its_copy_to_the_same_bits(recipe, tmp_path, monkeypatch):
    list(train(recipe(train__epochs=3), tmp_path / "whole"))
    mirrored = recipe(train__epochs=3, save__mirror=str(tmp_path / "drive"))
    run, copy = tmp_path / "runs" / "me", tmp_path / "drive" / "me"
    put, copied = FolderStore.put, threading.Event()

    def watched(self, source, name, *rest):
        put(self, source, name, *rest)
        if name.startswith("checkpoints/step-00000006/state"):
            copied.set()

    monkeypatch.setattr(FolderStore, "put", watched)
    events = train(mirrored, run)
    for event in events:
        if isinstance(event, Step) and event.step == 7:
            break
    assert copied.wait(120)
    events.close()  # as a machine that goes away
    shutil.rmtree(run)
    with pytest.raises(UsageError, match=r"up to step 6, and .* up to step 0"):
        list(train(mirrored, run))
    assert (copy / "checkpoints" / "step-00000006").is_dir()

    shutil.rmtree(run)
    shutil.copytree(copy, run)
    events = list(train(mirrored, run))
    assert next(e for e in events if isinstance(e, Step)).step == 7
    assert [e.message for e in events if isinstance(e, Noted)][-1] == f"the run is copied to {copy}"
    same_files(run, copy)
    whole, resumed = load_file(tmp_path / "whole" / FINAL), load_file(copy / FINAL)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    with safe_open(copy / FINAL, framework="pt") as f:
        assert str(tmp_path / "drive") not in str(f.metadata())
    assert len(list((copy / "checkpoints").iterdir())) == 2


def test_a_mirror_that_fails_never_fails_the_training(recipe, tmp_path, monkeypatch):
    mirrored = recipe(train__epochs=1, save__mirror=str(tmp_path / "drive"))
    put = FolderStore.put

    def full(self, source, name, *rest):
        if name.startswith("weights/"):
            raise BakehouseError(f"cannot write {name}: the disk is full")
        put(self, source, name, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(FolderStore, "put", full)
        events = list(train(mirrored, tmp_path / "me"))
    warned = [e.message for e in events if isinstance(e, Warned)]
    assert isinstance(events[-1], Finished)
    assert sum("is tried again" in message for message in warned) == 1
    # Nothing after a file that fails: a state or a model would seem whole without it.
    assert f"lacks 5 files of the run: {FINAL}" in warned[-1] and "the disk is full" in warned[-1]
    assert '"warned"' in (tmp_path / "me" / "events.jsonl").read_text()

    events = list(train(mirrored, tmp_path / "me"))
    assert not [e for e in events if isinstance(e, Step)]
    same_files(tmp_path / "me", tmp_path / "drive" / "me")


def test_the_training_does_not_wait_for_the_copy(recipe, tmp_path, monkeypatch):
    put, go_on = FolderStore.put, threading.Event()

    def slow(self, source, name, *rest):
        if name != "mirror.json":
            assert go_on.wait(120)
        put(self, source, name, *rest)

    monkeypatch.setattr(FolderStore, "put", slow)
    seen = []
    for event in train(recipe(train__epochs=1, save__mirror=str(tmp_path / "drive")), tmp_path / "me"):
        seen.append(event)
        if isinstance(event, Saved):
            assert not (tmp_path / "drive" / "me" / "recipe.toml").exists()
            go_on.set()
    assert [e for e in seen if isinstance(e, Step)] and (tmp_path / "drive" / "me" / FINAL).is_file()


def test_a_url_is_mirrored_to(recipe, tmp_path):
    list(train(recipe(train__epochs=1, save__mirror="memory://drive"), tmp_path / "me"))
    store = open_store("memory://drive/me")
    assert store.read(FINAL) == (tmp_path / "me" / FINAL).read_bytes()
    assert b'"finished"' in store.read("events.jsonl")


def test_a_copy_of_another_run_is_not_overwritten(recipe, tmp_path):
    where = str(tmp_path / "drive")
    list(train(recipe(train__epochs=1, save__mirror=where), tmp_path / "a" / "me"))
    before = (tmp_path / "drive" / "me" / FINAL).read_bytes()
    other = recipe(train__epochs=1, seed=5, save__mirror=where)
    with pytest.raises(UsageError, match="holds a run of another recipe"):
        list(train(other, tmp_path / "b" / "me"))
    (tmp_path / "drive" / "me" / "mirror.json").unlink()
    with pytest.raises(UsageError, match=r"not copied by save\.mirror"):
        list(train(other, tmp_path / "b" / "me"))
    assert (tmp_path / "drive" / "me" / FINAL).read_bytes() == before


def test_a_mirror_that_is_found_to_be_anothers_too_late_ends_no_training(recipe, tmp_path, monkeypatch):
    """It could not be reached at the start, when it would have been refused."""
    where = tmp_path / "drive" / "me"
    where.mkdir(parents=True)
    (where / "mirror.json").write_text('{"run": "another", "files": {}}')
    read, calls = FolderStore.read, []

    def away_at_first(self, name):
        calls.append(name)
        if len(calls) == 1:
            raise BakehouseError("cannot be reached")
        return read(self, name)

    monkeypatch.setattr(FolderStore, "read", away_at_first)
    events = list(train(recipe(train__epochs=1, save__mirror=str(tmp_path / "drive")), tmp_path / "me"))
    warned = [e.message for e in events if isinstance(e, Warned)]
    assert isinstance(events[-1], Finished)
    assert any("nothing is copied to" in message for message in warned) and "lacks" in warned[-1]
    assert [p.name for p in where.iterdir()] == ["mirror.json"]


def test_a_wrong_url_is_refused_before_the_first_step(recipe, tmp_path):
    for url in ("nonsense://x", "ftp://me:pass@host/x"):
        with pytest.raises(UsageError, match=r"protocol|password"):
            list(train(recipe(save__mirror=url), tmp_path / "me"))
    assert not list((tmp_path / "me").glob("weights/*"))


def test_where_copies_are_kept_may_change_during_a_run(recipe, tmp_path):
    events = train(recipe(train__epochs=1), tmp_path / "me")
    next(e for e in events if isinstance(e, Step))
    events.close()
    list(train(recipe(train__epochs=1, save__mirror=str(tmp_path / "drive")), tmp_path / "me"))
    assert (tmp_path / "drive" / "me" / FINAL).is_file()
    assert read_json(tmp_path / "drive" / "me" / "mirror.json")["files"].keys() >= {FINAL, "recipe.toml"}


def test_only_older_states_are_removed(tmp_path):
    """Who empties the run's folder to save space keeps the copy."""
    copied = {f"checkpoints/step-{n:08d}/{f}": [1, 1] for n in (2, 4, 6, 8) for f in ("parameters", "state.json")}
    copied |= {"weights/a.safetensors": [1, 1], "recipe.toml": [1, 1]}
    run = Run(tmp_path)
    assert superseded(run, copied, prune=True) == []
    for step in (4, 6):
        state = tmp_path / "checkpoints" / f"step-{step:08d}" / "state.json"
        state.parent.mkdir(parents=True)
        state.write_text("{}")
    assert superseded(run, copied, prune=False) == ["checkpoints/step-00000002"]
    assert superseded(run, copied, prune=True) == ["checkpoints/step-00000002", "weights/a.safetensors"]
