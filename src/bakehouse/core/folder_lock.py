"""One process at a time in a folder. The kernel holds the lock and frees it, whatever becomes of the process."""

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
from bakehouse.core.json_toml_yaml import parse_json

LOCK_FILE = ".lock"
"""Stays where it is: were it removed, two processes could hold locks on two files of that name."""

_TAKEN = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})
_WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})


class InUseError(BakehouseError):
    """Another process is at work there."""


@contextlib.contextmanager
def locked(folder: Path, doing: str) -> Iterator[list[str]]:
    """Keeps other processes out of `folder` for the length of the block; makes the folder if there is none.

    A process that was killed, or a machine that went down, leaves no lock behind: the text in the file only says who
    holds it. Gives what the user should be told: that this file system knows no locks, or nothing.

    Args:
        doing: what the block does, for the message that others get: `training`.

    Raises:
        InUseError: another process is at work in the folder; says which, where and since when.
        BakehouseError: the folder cannot be written.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        told = _take(descriptor, folder)
        _write_holder(descriptor, doing)
        try:
            yield told
        finally:
            _erase_holder(descriptor)
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> list[str]:
    try:
        _lock(descriptor)
    except OSError as e:
        if e.errno in _TAKEN:
            raise _busy(folder) from e
        if e.errno in _WITHOUT_LOCKS:
            return [f"{folder} lies on a file system without locks: see to it that nothing else writes into it"]
        raise
    return []


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30
    """Windows forbids even reading what is locked, so a byte behind the text is."""

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write_holder(descriptor: int, doing: str) -> None:
    """Notes who is here. A full disk takes the note, not the lock."""
    holder = {"doing": doing, "pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(holder).encode() + b"\n")


def _erase_holder(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)


def _busy(folder: Path) -> InUseError:
    """Who is here, as far as its note tells: it may be a moment from being written, or another program's."""
    try:
        holder: Any = parse_json((folder / LOCK_FILE).read_text("utf-8"))
        pid, host, doing = int(holder["pid"]), str(holder["host"]), str(holder["doing"])
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(holder["since"])))
    except (OSError, ValueError, KeyError, TypeError):
        return InUseError(f"another process is at work in {folder}", hint="wait for it, or choose another folder")
    stop = f"stop it (kill {pid})" if host == socket.gethostname() else f"stop it there (kill {pid} on {host})"
    return InUseError(
        f"{folder} is in use: {doing} by process {pid} on {host} since {since}",
        hint=f"wait for it, {stop}, or choose another folder",
    )
