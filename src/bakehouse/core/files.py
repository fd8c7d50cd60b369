"""Files that are either whole or absent, and the hashes that name them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.core.pluralize import visible

_CHUNK = 1 << 20


class DamagedError(BakehouseError):
    """A file is not what was written."""

    def __init__(self, path: Path, reason: str, *, hint: str = "") -> None:
        """`reason` goes on after the file's name: `is missing`."""
        super().__init__(f"{path} {reason}", hint=hint)
        self.path = path
        self.reason = reason


def sha256_bytes(data: bytes) -> str:
    """Hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in pieces of 1 MiB."""
    with path.open("rb", buffering=0) as f:
        # A caption should not cost a buffer of a megabyte, and a second one to see that it has ended.
        size = os.fstat(f.fileno()).st_size
        if size < _CHUNK and len(data := f.read(size + 1)) == size:
            return sha256_bytes(data)
        f.seek(0)
        digest = hashlib.sha256()
        while chunk := f.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def key_of(*parts: object) -> str:
    """A content key: sha256 over the JSON of `parts`. Same parts, same key, on every machine."""
    return sha256_bytes(json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str).encode())


_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space and run the same command again"),
    errno.EROFS: ("the file system is read-only", "choose another folder"),
    errno.EACCES: ("no permission to write there", "choose another folder or change its permissions"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run the same command again"),
}


@contextlib.contextmanager
def writing_to(target: Path) -> Iterator[None]:
    """Says in one sentence why `target` could not be written."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as e:
        found = _os_error(e)
        if found is None:
            raise
        reason, hint = _REASONS.get(found, (os.strerror(found), "what was there before is untouched"))
        raise BakehouseError(f"cannot write {target}: {reason}", hint=hint) from e


def _os_error(e: BaseException) -> int | None:
    """The system's error number. torch hides it behind a RuntimeError, safetensors in its message."""
    if isinstance(e, OSError):
        return e.errno
    if isinstance(e, SafetensorError):
        told = re.search(r"os error (\d+)", str(e))
        return int(told[1]) if told else None
    return e.__context__.errno if isinstance(e.__context__, OSError) else None


def check_name(target: Path) -> None:
    """Raises `UsageError` where a place to write is no file's: `.`, `..`, `/` or empty."""
    if target.name in ("", ".."):
        raise UsageError(f"{str(target)!r} is no name of a file to write", hint="name a file, such as out/result")


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that takes its place, flushed to disk, when the block ends well.

    Killed or failed half-way, `target` stays what it was.

    Raises:
        UsageError: it has no name.
        BakehouseError: the folder cannot be written or the disk is full; says which.
    """
    check_name(target)
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=_hidden(target), suffix=".part", dir=target.parent)
        os.close(fd)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as f:
                os.fsync(f.fileno())
            _open_up(temporary, 0o666)
            temporary.replace(target)
            _sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place, flushed to disk, when the block ends well.

    A folder cannot replace a full one in one move: killed between the two moves, there is none under that name.

    Raises:
        BakehouseError: the place cannot be written; says why.
    """
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_hidden(target), suffix=".part", dir=target.parent))
        try:
            yield temporary
            flush(temporary)
            _open_up(temporary, 0o777)
            _put_in_place(temporary, target)
            _sync_folder(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _hidden(target: Path) -> str:
    """How the temporary name of a file begins; cut, since file systems allow 255 bytes."""
    return f".{short_name(target.name, 200)}."


def short_name(name: str, most: int) -> str:
    """A file's name cut to so many bytes, between two characters; its ending is cut too."""
    return os.fsencode(name)[:most].decode(errors="ignore") if len(os.fsencode(name)) > most else name


_LONGEST_NAME = 255
"""Bytes that file systems allow for a name."""


def fitted(stem: str, ending: str) -> str:
    """`stem` + `ending` as a file's name; where that is too long, the stem is cut and gets a mark of what it was."""
    if len(os.fsencode(stem + ending)) <= _LONGEST_NAME:
        return stem + ending
    mark = f"~{sha256_bytes(os.fsencode(stem))[:8]}"
    return short_name(stem, _LONGEST_NAME - len(os.fsencode(mark + ending))) + mark + ending


def is_there(path: Path) -> bool:
    """Whether a file is there. `Path.is_file` fails where a name is longer than any file's can be."""
    try:
        return path.is_file()
    except OSError as e:
        if e.errno != errno.ENAMETOOLONG:
            raise
        return False


def flush(folder: Path) -> None:
    """Waits until all that was written below `folder` is on the disk.

    Linux does it for the whole file system at once: one by one, ten thousand captions take half a minute.
    """
    if sys.platform == "linux":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            os.close(descriptor)
    else:
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb+") as f:
                    os.fsync(f.fileno())


def _put_in_place(folder: Path, target: Path) -> None:
    """Renames `folder` to `target`; what was there before is moved aside first and then removed."""
    if not target.exists():
        folder.replace(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=_hidden(target), suffix=".part", dir=target.parent))
    try:
        target.replace(aside / target.name)
        folder.replace(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _open_up(path: Path, mode: int) -> None:
    """Temporary files and folders are made private; this gives them the permissions that any new one would have."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(mode & ~umask)


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable; some network drives do not allow it and lose nothing but that promise."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_bytes(target: Path, data: bytes) -> Path:
    """Writes `data` atomically and returns `target`."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)
    return target


def write_text(target: Path, text: str) -> Path:
    """Writes `text` as UTF-8 atomically and returns `target`.

    Raises:
        UsageError: it holds the name of a file that is not valid UTF-8, which no text file can keep.
    """
    try:
        return write_bytes(target, text.encode("utf-8"))
    except UnicodeEncodeError as e:
        near = text[max(0, e.start - 40) : e.end + 20].encode("utf-8", "backslashreplace").decode().split("\n")
        part = max(near, key=lambda line: "\\udc" in line)
        raise UsageError(
            f"{target} cannot be written: a name in it is not valid UTF-8: {part.strip()}",
            hint="rename that file or folder",
        ) from e


def write_html(target: Path, text: str) -> Path:
    """Writes a page for people atomically and returns `target`.

    Bytes of names that are not UTF-8 become escapes, and so does what would turn the direction of writing: `exe.png`
    read backwards.
    """
    return write_bytes(target, visible(text).encode("utf-8", "backslashreplace"))


def write_json(target: Path, value: Any) -> Path:
    """Writes `value` as indented JSON atomically and returns `target`."""
    # What is not UTF-8 in a file's name becomes an escape that JSON reads back as the same name.
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return write_bytes(target, text.encode("utf-8", "backslashreplace"))


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        BakehouseError: not there or not JSON.
    """
    try:
        return parse_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as e:
        raise BakehouseError(f"cannot read {path}: {e}") from e


def read_table(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        BakehouseError: not there, not JSON, or a list or a single value.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise BakehouseError(f"{path} holds {type(value).__name__} where an object {{...}} belongs")
    return value


_CHECKSUM = "checksum"


def write_checked(target: Path, value: Mapping[str, Any]) -> Path:
    """Writes a JSON object with a checksum over all its other keys, so that `read_checked` notices any damage."""
    return write_json(target, {**value, _CHECKSUM: key_of(value)})


def read_checked(path: Path) -> dict[str, Any]:
    """Reads what `write_checked` wrote, without the checksum.

    Raises:
        DamagedError: not there, cut short, or changed since it was written.
    """
    try:
        value = parse_json(path.read_bytes())
    except OSError as e:
        raise DamagedError(path, "is missing" if e.errno == errno.ENOENT else f"cannot be read: {e.strerror}") from e
    except ValueError as e:
        raise DamagedError(path, "is cut short or damaged (it is not JSON)") from e
    if not isinstance(value, dict) or key_of({k: v for k, v in value.items() if k != _CHECKSUM}) != value.get(
        _CHECKSUM
    ):
        raise DamagedError(path, "was changed after it was written (its checksum does not match)")
    del value[_CHECKSUM]
    return value


def cache_dir(*parts: str) -> Path:
    """Where things that can be made again are kept: `$BAKEHOUSE_CACHE`, else the user's cache folder."""
    root = os.environ.get("BAKEHOUSE_CACHE")
    base = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bakehouse"
    return base.joinpath(*parts)


def data_dir(*parts: str) -> Path:
    """Where what belongs to the user is kept: `$BAKEHOUSE_DATA`, else the user's data folder."""
    root = os.environ.get("BAKEHOUSE_DATA")
    base = Path(root) if root else Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "bakehouse"
    return base.joinpath(*parts)
