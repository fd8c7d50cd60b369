"""Atomic writes, checksums, file names, and the user's data and cache folders."""

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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path, user_data_path
from safetensors import SafetensorError

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.message_text import visible
from bakehouse.core.parse_json_toml_yaml import parse_json

_CHUNK = 1 << 20


class DamagedError(BakehouseError):
    """A file differs from what was written."""

    def __init__(self, path: Path, reason: str, *, hint: str = "") -> None:
        """`reason` completes the sentence that begins with the path: `is missing`."""
        super().__init__(f"{path} {reason}", hint=hint)
        self.path = path
        self.reason = reason


def sha256_bytes(data: bytes) -> str:
    """Return the hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file, read in pieces of 1 MiB."""
    with path.open("rb", buffering=0) as f:
        # Small files such as captions are read at once, without a buffer of a megabyte.
        size = os.fstat(f.fileno()).st_size
        if size < _CHUNK and len(data := f.read(size + 1)) == size:
            return sha256_bytes(data)
        f.seek(0)
        digest = hashlib.sha256()
        while chunk := f.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def key_of(*parts: object) -> str:
    """Return a content key: the sha256 of the JSON of `parts`, the same on every machine."""
    return sha256_bytes(json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str).encode())


_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space and run the same command again"),
    errno.EROFS: ("the file system is read-only", "choose another folder"),
    errno.EACCES: ("no permission to write there", "choose another folder or change its permissions"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run the same command again"),
}


@contextlib.contextmanager
def writing_to(target: Path) -> Iterator[None]:
    """Turn errors of writing into a BakehouseError that says why `target` could not be written."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as e:
        found = _os_error(e)
        if found is None:
            raise
        reason, hint = _REASONS.get(found, (os.strerror(found), "what was there before is untouched"))
        raise BakehouseError(f"cannot write {target}: {reason}", hint=hint) from e


def _os_error(e: BaseException) -> int | None:
    """The system's error number, which torch wraps in a RuntimeError and safetensors writes into its message."""
    if isinstance(e, OSError):
        return e.errno
    if isinstance(e, SafetensorError):
        number = re.search(r"os error (\d+)", str(e))
        return int(number[1]) if number else None
    return e.__context__.errno if isinstance(e.__context__, OSError) else None


def check_file_name(target: Path) -> None:
    """Raise UsageError if a path to write cannot be a file: `.`, `..`, `/` or empty."""
    if target.name in ("", ".."):
        raise UsageError(
            f"{str(target)!r} cannot be the name of a file to write", hint="name a file, such as out/result"
        )


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`, which replaces `target` when the block ends without an error.

    The file is flushed to the disk first. If the block fails or the process is killed, `target` stays as it was.

    Raises:
        UsageError: `target` has no name.
        BakehouseError: the folder cannot be written or the disk is full; says which.
    """
    check_file_name(target)
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=_temporary_prefix(target), suffix=".part", dir=target.parent)
        os.close(fd)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as f:
                os.fsync(f.fileno())
            _set_default_permissions(temporary, 0o666)
            temporary.replace(target)
            _sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target`, which replaces `target` when the block ends without an error.

    No system call replaces a folder that is not empty: a process that is killed between the two renames leaves none.

    Raises:
        BakehouseError: the folder cannot be written; says why.
    """
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_temporary_prefix(target), suffix=".part", dir=target.parent))
        try:
            yield temporary
            flush_to_disk(temporary)
            _set_default_permissions(temporary, 0o777)
            _replace_folder(temporary, target)
            _sync_folder(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _temporary_prefix(target: Path) -> str:
    """The beginning of a temporary file's name; cut, since file systems allow 255 bytes."""
    return f".{cut_file_name(target.name, 200)}."


def cut_file_name(name: str, most: int) -> str:
    """Return a file name cut to at most `most` bytes, between two characters."""
    return os.fsencode(name)[:most].decode(errors="ignore") if len(os.fsencode(name)) > most else name


_LONGEST_NAME = 255
"""Bytes that file systems allow for a name."""


def fit_file_name(stem: str, ending: str) -> str:
    """Return `stem` + `ending` as a file name; if it is too long, the stem is cut and a hash of it appended."""
    if len(os.fsencode(stem + ending)) <= _LONGEST_NAME:
        return stem + ending
    mark = f"~{sha256_bytes(os.fsencode(stem))[:8]}"
    return cut_file_name(stem, _LONGEST_NAME - len(os.fsencode(mark + ending))) + mark + ending


def file_exists(path: Path) -> bool:
    """Whether a file exists. `Path.is_file` raises if the name is longer than file systems allow."""
    try:
        return path.is_file()
    except OSError as e:
        if e.errno != errno.ENAMETOOLONG:
            raise
        return False


def flush_to_disk(folder: Path) -> None:
    """Wait until everything that was written below `folder` is on the disk.

    On Linux, for the whole file system at once: file by file, ten thousand captions take half a minute.
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


def _replace_folder(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`; what was there before is moved aside first and then deleted."""
    if not target.exists():
        folder.replace(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=_temporary_prefix(target), suffix=".part", dir=target.parent))
    try:
        target.replace(aside / target.name)
        folder.replace(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _set_default_permissions(path: Path, mode: int) -> None:
    """Give a temporary file or folder, which is private, the permissions that a new one would have."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(mode & ~umask)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable. Some network drives do not allow it; there it is skipped."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_bytes(target: Path, data: bytes) -> Path:
    """Write `data` atomically and return `target`."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)
    return target


def write_text(target: Path, text: str) -> Path:
    """Write `text` as UTF-8 atomically and return `target`.

    Raises:
        UsageError: the text holds a file name that is not valid UTF-8.
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
    """Write an HTML page atomically and return `target`.

    File names that are not UTF-8, and characters that change the writing direction, are written as escapes.
    """
    return write_bytes(target, visible(text).encode("utf-8", "backslashreplace"))


def write_json(target: Path, value: Any) -> Path:
    """Write `value` as indented JSON atomically and return `target`."""
    return write_bytes(target, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return `value` as the indented JSON that `write_json` writes."""
    # File names that are not UTF-8 are written with escapes, which JSON reads back as the same names.
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        BakehouseError: it is missing or is not JSON.
    """
    try:
        return parse_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as e:
        raise BakehouseError(f"cannot read {path}: {e}") from e


def read_table(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        BakehouseError: it is missing, is not JSON, or holds something else than an object.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise BakehouseError(f"{path} holds a {type(value).__name__}; it must be an object {{...}}")
    return value


_CHECKSUM = "checksum"


def write_checked(target: Path, value: Mapping[str, Any]) -> Path:
    """Write a JSON object with a checksum of all its keys, with which `read_checked` finds any damage."""
    return write_json(target, {**value, _CHECKSUM: key_of(value)})


def read_checked(path: Path) -> dict[str, Any]:
    """Read what `write_checked` wrote, without the checksum.

    Raises:
        DamagedError: it is missing, cut short, or was changed since it was written.
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
    """Return the folder for what can be made again: `$BAKEHOUSE_CACHE`, or the user's cache folder of this system."""
    return _user_folder("BAKEHOUSE_CACHE", user_cache_path, parts)


def data_dir(*parts: str) -> Path:
    """Return the folder for what belongs to the user: `$BAKEHOUSE_DATA`, or the user's data folder of this system."""
    return _user_folder("BAKEHOUSE_DATA", user_data_path, parts)


def _user_folder(variable: str, default: Callable[..., Path], parts: tuple[str, ...]) -> Path:
    own = os.environ.get(variable)
    return (Path(own) if own else default("bakehouse", appauthor=False)).joinpath(*parts)
