"""Zip archives, unpacked without trusting them."""

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
"""Unpacked to packed. Images are packed already (1 to 1), and no drawing stored as BMP reaches it in all its bulk."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, ValueError, struct.error)
_UNCHECKED_BYTES = 256 << 20
"""So many bytes may be packed as tightly as they like."""


def unpack(archive: Path, into: Path) -> Path:
    """Unpacks a zip archive into a new folder; what systems leave in archives stays out.

    Raises:
        UsageError: no zip archive, encrypted, or larger than anyone's dataset.
        Problems: names that lead out of the folder, or links.
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
    """Unpacks one file; what is wrong with its bytes is said of it, what is wrong with the disk is not."""
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
    except (OSError, *_DAMAGED) as e:  # bz2 says OSError of damaged data
        raise zipfile.BadZipFile(f"{entry.filename}: {e or 'its data ends too early'}") from e


def _set_mtime(path: Path, entry: zipfile.ZipInfo) -> None:
    """Gives a file the age that it has in the archive, which is in local time; one that no calendar has stays new."""
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
            f"{archive} claims to unpack to {total / 1e9:.1f} GB from {packed / 1e6:.1f} MB: no archive of images does",
            hint="if it is one all the same, unpack it by hand and import the folder",
        )
    names = [(entry, _entry_path(entry)) for entry in entries]
    wrong = [f"{name}: leads out of the folder" for _, name in names if _leads_out(name)]
    wrong += [f"{name}: is a link" for entry, name in names if stat.S_ISLNK(entry.external_attr >> 16)]
    if wrong:
        raise Problems(f"{archive} is not safe to unpack:", wrong[:20], hint="nothing of it was unpacked")


def _leads_out(name: PurePosixPath) -> bool:
    return not name.parts or name.is_absolute() or ".." in name.parts or ":" in name.parts[0]


def _entry_path(entry: zipfile.ZipInfo) -> PurePosixPath:
    """An entry's path. Archives without the mark for UTF-8 have names in what their maker's system used."""
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
