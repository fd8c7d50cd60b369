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

from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.core.files import writing_to

MAX_FILES = 100_000
MAX_BYTES = 64 << 30
MAX_RATIO = 100
"""Largest ratio of unpacked to packed bytes. Images are compressed (1 to 1); even drawings as BMP stay below."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, ValueError, struct.error)
_UNCHECKED_BYTES = 256 << 20
"""Unpacked bytes up to which the ratio is not checked."""


def unpack(archive: Path, into: Path) -> Path:
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
    if len(entries) > MAX_FILES:
        raise UsageError(f"{archive} holds {len(entries):,} files, and the limit is {MAX_FILES:,}")
    total, packed = sum(e.file_size for e in entries), sum(e.compress_size for e in entries)
    if total > MAX_BYTES or (total > _UNCHECKED_BYTES and total > MAX_RATIO * max(packed, 1)):
        raise UsageError(
            f"{archive} would unpack to {total / 1e9:.1f} GB from {packed / 1e6:.1f} MB: implausible for images",
            hint="if you trust it, unpack it by hand and import the folder",
        )
    names = [(entry, _entry_path(entry)) for entry in entries]
    wrong = [f"{name}: leads out of the folder" for _, name in names if _leads_out(name)]
    wrong += [f"{name}: is a link" for entry, name in names if stat.S_ISLNK(entry.external_attr >> 16)]
    if wrong:
        raise Problems(f"{archive} is not safe to unpack:", wrong[:20], hint="nothing of it was unpacked")


def _leads_out(name: PurePosixPath) -> bool:
    return not name.parts or name.is_absolute() or ".." in name.parts or ":" in name.parts[0]


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
