"""Where import sources are: on this machine, or behind URLs, from which they are fetched once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import OnEvent, Progress
from bakehouse.core.file_store import file_system, protocol_of, without_password
from bakehouse.core.files import key_of, writing_to


@dataclass(frozen=True)
class SourceLocation:
    """A source as the user named it, and its files on this machine."""

    name: str
    """Path or URL."""
    path: Path

    @property
    def key(self) -> str:
        """What the dataset's history calls the source: its full path, or its URL."""
        return self.name if protocol_of(self.name) else str(self.path.resolve())


def local_sources(source: Path | str, work: Path, on_event: OnEvent) -> Iterator[SourceLocation]:
    """Yield a source as files of this machine; a URL may have a pattern, `s3://bucket/shard-*.tar`, for several.

    Raises:
        UsageError: nothing is behind the URL, or the package for its protocol is missing.
        BakehouseError: it cannot be reached, or the disk is full.
    """
    protocol = protocol_of(str(source))
    if not protocol:
        yield SourceLocation(str(source), Path(source))
        return
    url = str(source).rstrip("/")
    shown = without_password(url)
    files, pattern = file_system(url, protocol)
    try:
        found = files.glob(pattern) if "*" in pattern else [pattern] if files.exists(pattern) else []
    # Each storage has exceptions of its own.
    except Exception as e:
        raise BakehouseError(f"{shown} cannot be read: {type(e).__name__}: {e}") from e
    if not found:
        raise UsageError(f"{shown} does not exist", hint="check the address; `*` stands for any part of a name")
    for number, name in enumerate(sorted(map(str, found)), start=1):
        address = url if len(found) == 1 and "*" not in pattern else str(files.unstrip_protocol(name))
        folder = work / key_of(address, _version(files, name))
        target = fill_once(folder, partial(_fetch, files, name)) / PurePosixPath(name).name
        if len(found) > 1:
            on_event(Progress(what=f"fetching {shown}", done=number, total=len(found)))
        yield SourceLocation(without_password(address), target)


def fill_once(folder: Path, fill: Callable[[Path], object]) -> Path:
    """Fill a folder atomically; keep one that exists already, which an interrupted import left complete."""
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        fill(part)
        part.rename(folder)
    return folder


def _version(files: Any, name: str) -> list[str]:
    """Return what changes when a file behind a URL does, as far as its storage says."""
    facts = files.info(name)
    return [str(facts.get(key)) for key in ("size", "ETag", "etag", "LastModified", "mtime", "modified", "generation")]


def _fetch(files: Any, name: str, into: Path) -> None:
    """Copy a file or folder from behind a URL into a folder, under its own name."""
    try:
        with writing_to(into):
            files.get(name, str(into / PurePosixPath(name).name), recursive=bool(files.isdir(name)))
    except BakehouseError:
        raise
    except Exception as e:
        raise BakehouseError(f"{name} cannot be fetched: {type(e).__name__}: {e}", hint="try again") from e
