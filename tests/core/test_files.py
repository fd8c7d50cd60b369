import errno
import os
import sys
from pathlib import Path

import pytest

from bakehouse.core import files
from bakehouse.core.errors import BakehouseError


def test_a_failed_write_leaves_what_was_there(tmp_path):
    target = tmp_path / "x.txt"
    files.write_text(target, "old")
    with pytest.raises(RuntimeError), files.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")])
def test_a_disk_that_refuses_is_named(tmp_path, number, words):
    with pytest.raises(BakehouseError, match=words), files.atomic_path(tmp_path / "x"):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_takes_the_place_of_another_as_a_whole(tmp_path):
    target = tmp_path / "model"
    for word in ("first", "second"):
        with files.atomic_folder(target) as temporary:
            (temporary / word).write_text(word)
    assert [p.name for p in target.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_was_not_finished_leaves_what_was_there(tmp_path):
    target = tmp_path / "model"
    with files.atomic_folder(target) as temporary:
        (temporary / "old").write_text("whole")
    with pytest.raises(RuntimeError), files.atomic_folder(target) as temporary:
        (temporary / "new").write_text("half")
        raise RuntimeError
    assert (target / "old").read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_new_files_have_the_usual_permissions(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    assert files.write_text(tmp_path / "x", "").stat().st_mode == plain.stat().st_mode


def test_new_folders_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain").mkdir()
    with files.atomic_folder(tmp_path / "x") as temporary:
        (temporary / "inside").write_text("")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_keys_tell_values_apart():
    assert files.key_of("a", 1) == files.key_of("a", 1)
    assert len({files.key_of(*p) for p in [("a", 1), ("a", "1"), ("a1",), (["a", 1],)]}) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="folders of Linux")
@pytest.mark.parametrize("xdg", ["", "/elsewhere"])
def test_user_folders_are_those_of_the_system_or_of_the_user(monkeypatch, xdg):
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("BAKEHOUSE_CACHE", "BAKEHOUSE_DATA"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, xdg)
    assert files.cache_dir("a", "b") == Path(xdg or "/home/me/.cache") / "bakehouse/a/b"
    assert files.data_dir() == Path(xdg or "/home/me/.local/share") / "bakehouse"
    monkeypatch.setenv("BAKEHOUSE_CACHE", "/mine")
    monkeypatch.setenv("BAKEHOUSE_DATA", "yours")
    assert files.cache_dir("a") == Path("/mine/a")
    assert files.data_dir("models.json") == Path("yours/models.json")
