"""Unpack untrusted zip archives."""

from __future__ import annotations

import contextlib
import lzma
import os
import stat
import struct
import time
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import writing_to
from bakehouse.curation.image_import.archive_limits import check_names, check_size

_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, ValueError, struct.error)


def unpack_zip(archive: Path, into: Path) -> Path:
    """Unpack a zip archive into a new folder, without macOS resource files; return the folder.

    Raises:
        UsageError: the archive is encrypted or implausibly large.
        Problems: entries would be written outside the folder, or are links.
        BakehouseError: the archive is damaged, or the disk is full.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            entries = [e for e in file.infolist() if not e.is_dir() and "__MACOSX" not in e.filename]
            _check(archive, entries)
            with writing_to(into):
                for entry in entries:
                    target = into / _entry_path(entry)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _copy(file, entry, target)
                    _set_mtime(target, entry)
    except _DAMAGED as e:
        raise BakehouseError(f"cannot unpack {archive}: {e}", hint="download it again, or unpack it by hand") from e
    return into


def _copy(file: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Unpack one file; damaged data raises BadZipFile with its name, write errors pass through."""
    try:
        source = file.open(entry)
    except OSError as e:
        raise zipfile.BadZipFile(f"{entry.filename}: {e}") from e
    with source, target.open("wb") as out:
        while chunk := _read(source, entry):
            out.write(chunk)


def _read(source: IO[bytes], entry: zipfile.ZipInfo) -> bytes:
    try:
        return source.read(1 << 20)
    except (OSError, *_DAMAGED) as e:  # bz2 raises OSError for damaged data
        raise zipfile.BadZipFile(f"{entry.filename}: {e or 'unexpected end of data'}") from e


def _set_mtime(path: Path, entry: zipfile.ZipInfo) -> None:
    """Set a file's modification time from the archive, which has local times; invalid dates are ignored."""
    with contextlib.suppress(ValueError, OverflowError):
        written = time.mktime((*entry.date_time, 0, 0, -1))
        os.utime(path, (written, written))


def _check(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    if any(entry.flag_bits & 1 for entry in entries):
        raise UsageError(f"{archive} is encrypted", hint="unpack it by hand and import the folder")
    total, packed = sum(e.file_size for e in entries), sum(e.compress_size for e in entries)
    check_size(archive, files=len(entries), unpacked=total, packed=packed)
    names = [(str(_entry_path(entry)), stat.S_ISLNK(entry.external_attr >> 16)) for entry in entries]
    check_names(archive, [name for name, _ in names], links=[name for name, is_link in names if is_link])


def _entry_path(entry: zipfile.ZipInfo) -> PurePosixPath:
    """Return an entry's path. Without the UTF-8 flag, names are in the encoding of the system that made the archive."""
    name = entry.filename
    if not entry.flag_bits & 0x800:
        raw = name.encode("cp437", "replace")
        for encoding in ("utf-8", "cp932"):
            try:
                name = raw.decode(encoding)
                break
            except UnicodeDecodeError:
                continue
    return PurePosixPath(name.replace("\\", "/"))
