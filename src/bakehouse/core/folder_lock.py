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
    try:
        holder: Any = parse_json((folder / LOCK_FILE).read_text("utf-8"))
        pid, host, doing = int(holder["pid"]), str(holder["host"]), str(holder["doing"])
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(holder["since"])))
    except (OSError, ValueError, KeyError, TypeError):
        return InUseError(
            f"another process is using {folder}", hint="wait until it has ended, or choose another folder"
        )
    stop = f"stop it (kill {pid})" if host == socket.gethostname() else f"stop it on {host} (kill {pid})"
    return InUseError(
        f"{folder} is in use: {doing} by process {pid} on {host} since {since}",
        hint=f"wait until it has ended, {stop}, or choose another folder",
    )
