"""A lock that only one process can hold on a folder; the kernel frees it when the process ends, however it ends.

Not filelock's: where the kernel cannot lock it makes a marker file, which outlives a killed process, older releases
empty the file before they have the lock, and on Windows nobody can read the note of who holds it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import writing_to
from bakehouse.core.parse_json_toml_yaml import parse_json

LOCK_FILE = ".lock"
"""It is never removed: then two processes could hold locks on two files of this name."""

_HELD_ERRORS = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})
_UNSUPPORTED_ERRORS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})


class InUseError(BakehouseError):
    """Another process holds the lock of a folder."""


@dataclass(frozen=True)
class Holder:
    """The process that holds the lock of a folder, as its note in the lock file says."""

    doing: str
    pid: int
    host: str
    since: float
    """Seconds since 1970."""

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()


def read_holder(folder: Path) -> Holder | None:
    """Return who holds the lock of `folder`; None: nobody, or there is no note of it.

    A process that was killed leaves its note behind. So where there is a note, the lock is tried for an instant: if it
    is free, nobody holds it. On a file system without locks the note is taken at its word.
    """
    try:
        note: Any = parse_json((folder / LOCK_FILE).read_text("utf-8"))
        holder = Holder(str(note["doing"]), int(note["pid"]), str(note["host"]), float(note["since"]))
    except (OSError, BakehouseError, ValueError, KeyError, TypeError):
        return None
    return None if _is_free(folder) else holder


def _is_free(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR)
    except OSError:
        return False
    try:
        _lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def locked(folder: Path, doing: str) -> Iterator[list[str]]:
    """Hold the lock of `folder` during the block, without waiting for it; make the folder if there is none.

    A process that was killed, or a machine that went down, leaves no lock behind: the text in the lock file only says
    who holds it. Yields warnings for the user: that the file system has no locks, or none.

    Args:
        folder: the folder.
        doing: what the block does, for the message that other processes get: `training`.

    Raises:
        InUseError: another process holds the lock; names the process, its machine and when it began.
        BakehouseError: the folder cannot be written.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        warnings = _acquire(descriptor, folder)
        _write_holder(descriptor, doing)
        try:
            yield warnings
        finally:
            _erase_holder(descriptor)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, folder: Path) -> list[str]:
    try:
        _lock(descriptor)
    except OSError as e:
        if e.errno in _HELD_ERRORS:
            raise _in_use_error(folder) from e
        if e.errno in _UNSUPPORTED_ERRORS:
            return [f"{folder} is on a file system without locks: make sure that no other process writes into it"]
        raise
    return []


if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 1 << 30
    """Behind the text: on Windows nobody can read what is locked."""

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write_holder(descriptor: int, doing: str) -> None:
    """Write who holds the lock; on a full disk the lock is held without this note."""
    holder = {"doing": doing, "pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(holder).encode() + b"\n")


def _erase_holder(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)


def _in_use_error(folder: Path) -> InUseError:
    """The error that names the holder, if its note can be read: it may not be written yet."""
    holder = read_holder(folder)
    if holder is None:
        return InUseError(
            f"another process is using {folder}", hint="wait until it has ended, or choose another folder"
        )
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    stop = f"stop it (kill {holder.pid})" if holder.is_here else f"stop it on {holder.host} (kill {holder.pid})"
    return InUseError(
        f"{folder} is in use: {holder.doing} by process {holder.pid} on {holder.host} since {since}",
        hint=f"wait until it has ended, {stop}, or choose another folder",
    )
