"""Folders to copy files to: on this machine, on a mounted drive, or behind any URL that fsspec knows.

A file is there whole or not at all: it is written under another name, then renamed. Storages of objects show an object
only when all of it has arrived, so it gets its name at once.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import urlsplit

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import writing_to

_CHUNK = 8 << 20
_WHOLE_OBJECTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "hf", "r2"})
"""Protocols of storages where an object appears when all of it has arrived."""

OnBytes = Callable[[int], None]
"""What is called with the bytes that have been copied since the last call."""


class FileStore(Protocol):
    """A folder that files are copied to; names are relative, with slashes."""

    url: str

    def read(self, name: str) -> bytes | None:
        """Return a small file's content; None if there is none."""

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes; None if there is none."""

    def put(self, source: Path, name: str, on_bytes: OnBytes = ...) -> None:
        """Copy a file; what was there under the name is replaced when the copy is whole."""

    def fetch(self, name: str, target: Path, on_bytes: OnBytes = ...) -> bool:
        """Copy a file of the store to a path of this machine, which is there whole or not at all.

        Returns False if the store has no such file.
        """

    def remove(self, name: str) -> None:
        """Remove a file or folder; nothing happens if there is none."""


def open_store(url: str) -> FileStore:
    """Return the store behind a folder's path or a URL; nothing is read or written yet.

    Raises:
        UsageError: no such protocol, the package for it is not installed, or the URL holds a password.
    """
    protocol = protocol_of(url)
    if not protocol:
        return FolderStore(Path(url).expanduser())
    if protocol == "file":
        return FolderStore(Path(urlsplit(url).path))
    if urlsplit(url).password is not None:
        raise UsageError(
            f"the URL {without_password(url)} holds a password, which would be kept in files and shown in messages",
            hint="leave it out; the storage's own settings hold it (environment variables, or fsspec's configuration)",
        )
    return FsspecStore(url, protocol)


def protocol_of(url: str) -> str:
    """Return a URL's protocol: `s3`; empty for a path, also one that begins with a drive's letter."""
    before, found, _ = url.partition("://")
    return before.rpartition("::")[2].lower() if found and len(before) > 1 else ""


def without_password(url: str) -> str:
    """Return a URL with `***` in place of its password."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@") if password else url


def _ignore(_: int) -> None:
    """Do nothing: the default of `on_bytes`."""


class FolderStore:
    """A folder of this machine, or of a drive that is mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = str(folder)

    def read(self, name: str) -> bytes | None:
        """Return a file's content."""
        path = self.folder / _checked(name)
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size(self, name: str) -> int | None:
        """Return a file's size."""
        path = self.folder / _checked(name)
        return path.stat().st_size if path.is_file() else None

    def put(self, source: Path, name: str, on_bytes: OnBytes = _ignore) -> None:
        """Copy a file.

        Raises:
            BakehouseError: the folder cannot be written; says why.
        """
        _copy(source, self.folder / _checked(name), on_bytes)

    def fetch(self, name: str, target: Path, on_bytes: OnBytes = _ignore) -> bool:
        """Copy a file of the folder.

        Raises:
            BakehouseError: the target cannot be written; says why.
        """
        source = self.folder / _checked(name)
        if not source.is_file():
            return False
        _copy(source, target, on_bytes)
        return True

    def remove(self, name: str) -> None:
        """Remove a file or folder."""
        path = self.folder / _checked(name)
        with writing_to(path):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


class FsspecStore:
    """A folder behind a URL; each call of its file system runs in the thread that makes it."""

    def __init__(self, url: str, protocol: str) -> None:
        self.url = url.rstrip("/")
        self._whole = protocol in _WHOLE_OBJECTS
        self._fs, self._root = file_system(url, protocol)
        self._root = self._root.rstrip("/")
        self._lock = threading.Lock()

    def read(self, name: str) -> bytes | None:
        """Return a file's content."""
        with self._reached():
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def size(self, name: str) -> int | None:
        """Return a file's size."""
        with self._reached():
            try:
                found = self._fs.info(self._path(name))
            except FileNotFoundError:
                return None
            return None if found.get("type") == "directory" else int(found["size"])

    def put(self, source: Path, name: str, on_bytes: OnBytes = _ignore) -> None:
        """Copy a file.

        Raises:
            BakehouseError: the storage refuses it or cannot be reached.
        """
        target = self._path(name)
        folder, _, last = target.rpartition("/")
        with self._reached():
            self._fs.makedirs(folder, exist_ok=True)
            if self._whole:
                self._fs.put_file(str(source), target, callback=_callback(on_bytes))
                return
            part = f"{folder}/.{last}.part"
            self._fs.put_file(str(source), part, callback=_callback(on_bytes))
            if self._fs.exists(target):
                self._fs.rm_file(target)
            self._fs.mv(part, target)

    def fetch(self, name: str, target: Path, on_bytes: OnBytes = _ignore) -> bool:
        """Copy a file of the storage.

        Raises:
            BakehouseError: the storage refuses it or cannot be reached, or the target cannot be written.
        """
        part = _part_of(target)
        with writing_to(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        with self._reached():
            try:
                self._fs.get_file(self._path(name), str(part), callback=_callback(on_bytes))
            except FileNotFoundError:
                return False
        with writing_to(target):
            part.replace(target)
        return True

    def remove(self, name: str) -> None:
        """Remove a file or folder."""
        with self._reached(), contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._path(name), recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{_checked(name)}"

    @contextlib.contextmanager
    def _reached(self) -> Any:
        """Turn whatever a storage's package raises into one error, and read no listing that is out of date."""
        with self._lock:
            self._fs.invalidate_cache()
            try:
                yield
            except (BakehouseError, FileNotFoundError):
                raise
            # Each storage has exceptions of its own.
            except Exception as e:
                why = f"{type(e).__name__}: {without_password(str(e))[:300]}"
                raise BakehouseError(f"{self.url}: {why}", hint="check the address, and your rights there") from e


def _part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _copy(source: Path, target: Path, on_bytes: OnBytes) -> None:
    """Copy a file under another name, then rename it."""
    part = _part_of(target)
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as origin, part.open("wb") as copy:
            while chunk := origin.read(_CHUNK):
                copy.write(chunk)
                on_bytes(len(chunk))
            copy.flush()
            with contextlib.suppress(OSError):  # some network drives do not know it
                os.fsync(copy.fileno())
        part.replace(target)


def file_system(url: str, protocol: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the path there; nothing is read yet.

    Raises:
        UsageError: no such protocol, or the package for it is not installed.
        BakehouseError: it cannot be opened.
    """
    fsspec: Any = importlib.import_module("fsspec")
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except ImportError as e:
        known = fsspec.registry.known_implementations.get(protocol, {})
        raise UsageError(
            f"{url} needs a package that is not installed ({e})", hint=f"pip install it: {known.get('err') or protocol}"
        ) from e
    except ValueError as e:
        raise UsageError(
            f"{url}: {protocol!r} is not a protocol that fsspec knows ({e})",
            hint="name a folder, or a URL such as s3://bucket/folder, gs://bucket/folder, sftp://host/folder",
        ) from e
    except Exception as e:
        raise BakehouseError(f"{url} cannot be opened: {type(e).__name__}: {e}") from e
    return found


def _callback(on_bytes: OnBytes) -> Any:
    fsspec: Any = importlib.import_module("fsspec.callbacks")

    class Bytes(fsspec.Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            on_bytes(inc)

    return Bytes()


def _checked(name: str) -> str:
    """Return a relative name.

    Raises:
        UsageError: it leads out of the folder.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise UsageError(f"{name!r} is not the name of a file in a folder")
    return str(path)
