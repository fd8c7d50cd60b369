"""Unpack untrusted tar archives, compressed or not; webdataset's shards are such archives."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import tarfile
import zlib
from pathlib import Path
from typing import IO

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import writing_to
from bakehouse.curation.image_import.archive_limits import check_names, check_size

_DAMAGED = (tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, ValueError)


def unpack_tar(archive: Path, into: Path) -> Path:
    """Unpack a tar archive into a new folder, without macOS resource files; return the folder.

    Raises:
        UsageError: the archive is implausibly large.
        Problems: entries would be written outside the folder, or are links or devices.
        BakehouseError: the archive is damaged, or the disk is full.
    """
    try:
        with tarfile.open(archive) as file:
            _check_end(file)
            members = [m for m in file.getmembers() if not m.isdir() and not _is_resource_fork(m.name)]
            total = sum(member.size for member in members)
            check_size(archive, files=len(members), unpacked=total, packed=archive.stat().st_size)
            links = [m.name for m in members if m.issym() or m.islnk()]
            devices = [m.name for m in members if not (m.isfile() or m.issym() or m.islnk())]
            check_names(archive, [m.name for m in members], links=links, devices=devices)
            with writing_to(into):
                for member in members:
                    _copy(file, member, into / member.name)
    except _DAMAGED as e:
        raise BakehouseError(f"cannot unpack {archive}: {e}", hint="download it again, or unpack it by hand") from e
    return into


def _check_end(file: tarfile.TarFile) -> None:
    """Refuse an archive without the block of zeros at its end: tarfile takes one that was cut off for a short one.

    Raises:
        tarfile.ReadError: the archive is cut off.
    """
    last = file.getmembers()[-1] if file.getmembers() else None
    end = 0 if last is None else last.offset_data + -(-last.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    assert file.fileobj is not None, "it is open"
    file.fileobj.seek(end)
    if file.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end is missing")


def _is_resource_fork(name: str) -> bool:
    return "__MACOSX" in name or name.rpartition("/")[2].startswith("._")


def _copy(file: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Unpack one file. Its owner and its rights are not taken over."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = file.extractfile(member)
    assert source is not None, "only files are unpacked"
    left = member.size
    with source, target.open("wb") as out:
        while chunk := _read(source, member):
            out.write(chunk)
            left -= len(chunk)
    if left:
        raise tarfile.ReadError(f"{member.name}: unexpected end of data")
    with contextlib.suppress(ValueError, OverflowError):
        os.utime(target, (member.mtime, member.mtime))


def _read(source: IO[bytes], member: tarfile.TarInfo) -> bytes:
    """Read on; damaged data raises ReadError with the file's name, so that an OSError is one of writing."""
    try:
        return source.read(1 << 20)
    except (OSError, *_DAMAGED) as e:
        raise tarfile.ReadError(f"{member.name}: {e or 'unexpected end of data'}") from e
