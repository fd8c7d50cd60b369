"""Locks between real processes: one at a time, and none outlives its process."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bakehouse.core import folder_lock
from bakehouse.core.errors import BakehouseError
from bakehouse.core.folder_lock import locked

HOLD = """
import sys, time
from pathlib import Path
from bakehouse.core.folder_lock import locked

with locked(Path(sys.argv[1]), "training"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of `folder` until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_second_process_is_told_who_is_there_and_a_killed_one_leaves_nothing(tmp_path):
    folder = tmp_path / "runs" / "me"
    with another_process(folder) as other:
        with pytest.raises(BakehouseError) as e, locked(folder, "judging"):
            pass
        told = str(e.value)
        assert f"{folder} is in use: training by process {other.pid} on {socket.gethostname()} since 20" in told
        assert f"kill {other.pid}" in e.value.hint
        assert e.value.exit_code == 1

        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert (
            str(other.pid) in (folder / folder_lock.LOCK_FILE).read_text()
        )  # its note is still there, and means nothing
        with locked(folder, "judging") as notes:
            assert notes == []
            assert f'"pid": {os.getpid()}' in (folder / folder_lock.LOCK_FILE).read_text()


def test_a_block_that_ends_frees_the_folder(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError), locked(tmp_path, "training"):
            raise RuntimeError
    with another_process(tmp_path), pytest.raises(BakehouseError, match="in use"), locked(tmp_path, "training"):
        pass


def test_one_process_does_not_do_two_things_in_one_folder(tmp_path):
    with locked(tmp_path, "training"):
        with pytest.raises(BakehouseError, match=f"training by process {os.getpid()}"), locked(tmp_path, "judging"):
            pass
        with locked(tmp_path / "inside", "judging") as notes:
            assert notes == []


def test_a_note_that_cannot_be_read_still_gives_a_message(tmp_path):
    with another_process(tmp_path):
        (tmp_path / folder_lock.LOCK_FILE).write_text("[")
        with pytest.raises(BakehouseError, match=f"another process is using {tmp_path}"), locked(tmp_path, "x"):
            pass


def test_a_reader_sees_who_is_there_and_not_who_was_killed(tmp_path):
    assert folder_lock.read_holder(tmp_path) is None
    with another_process(tmp_path) as other:
        holder = folder_lock.read_holder(tmp_path)
        assert (holder.pid, holder.is_here) == (other.pid, True)
        note = (tmp_path / folder_lock.LOCK_FILE).read_bytes()
    # As a killed process leaves it, whose number another process has by now: this one.
    (tmp_path / folder_lock.LOCK_FILE).write_bytes(note.replace(str(other.pid).encode(), str(os.getpid()).encode()))
    assert folder_lock.read_holder(tmp_path) is None
    with locked(tmp_path, "training"):
        assert folder_lock.read_holder(tmp_path).doing == "training"
    assert folder_lock.read_holder(tmp_path) is None


def test_a_process_on_another_machine_is_to_be_stopped_there(tmp_path, monkeypatch):
    with another_process(tmp_path) as other:
        host = socket.gethostname()
        monkeypatch.setattr(folder_lock.socket, "gethostname", lambda: "elsewhere")
        with pytest.raises(BakehouseError) as e, locked(tmp_path, "training"):
            pass
        assert f"stop it on {host} (kill {other.pid})" in e.value.hint


def test_a_file_system_without_locks_gets_a_word_and_goes_on(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(folder_lock, "_lock", refuse)
    with locked(tmp_path, "training") as notes:
        assert notes == [
            f"{tmp_path} is on a file system without locks: make sure that no other process writes into it"
        ]


@pytest.mark.parametrize(("number", "words"), [(errno.EROFS, "read-only"), (errno.EACCES, "no permission")])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, number, words):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_lock.os, "open", refuse)
    with pytest.raises(BakehouseError, match=f"cannot write {tmp_path}: .*{words}"), locked(tmp_path, "training"):
        pass
