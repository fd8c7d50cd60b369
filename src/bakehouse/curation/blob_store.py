"""A content-addressed store of a dataset's old and new file contents, named by their sha256."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from bakehouse.core.files import flush_to_disk, sha256_bytes, sha256_file, writing_to

SMALL_FILE = 1 << 16
"""Bytes. Moved files up to this size keep a copy in the store: captions may be edited by hand later."""


class BlobStore:
    """The contents of one dataset, in its folder `.bakehouse`.

    `files/` keeps contents that the dataset held once. `new/` holds contents of a step that is being computed; they are
    deleted if the step is not recorded. `create_folders` lists both once: the dataset's lock excludes other writers.
    """

    def __init__(self, home: Path) -> None:
        self.files = home / "files"
        self.new = home / "new"
        self._listed: dict[Path, set[str]] = {self.new: set(), self.files: set()}

    def put(self, content: bytes | Path) -> str:
        """Add new content (a path is moved into the store) and return its sha256. It is durable only after `flush`.

        Raises:
            BakehouseError: the disk is full, or the folder is not writable.
        """
        sha = sha256_bytes(content) if isinstance(content, bytes) else sha256_file(content)
        if not self.has(sha):
            new = self.new / sha
            with writing_to(new):
                if isinstance(content, bytes):
                    new.write_bytes(content)
                else:
                    shutil.move(content, new)
            self._listed[self.new].add(sha)
        if isinstance(content, Path):
            content.unlink(missing_ok=True)
        return sha

    def flush(self) -> None:
        """Write all new contents through to the disk, which has to happen before a step is recorded.

        Raises:
            BakehouseError: the disk is full or broken.
        """
        with writing_to(self.new):
            flush_to_disk(self.new)

    def has(self, sha: str) -> bool:
        """Whether the store holds a content."""
        return any(sha in names for names in self._listed.values())

    def is_intact(self, sha: str) -> bool:
        """Whether the store holds a content and its bytes still match the hash."""
        return self.has(sha) and sha256_file(self._folder_of(sha) / sha) == sha

    def size(self, sha: str) -> int:
        """Return the length in bytes of a content in the store."""
        return (self._folder_of(sha) / sha).stat().st_size

    def _folder_of(self, sha: str) -> Path:
        return next(home for home, names in self._listed.items() if sha in names)

    def preserve(self, path: Path, sha: str) -> None:
        """Keep the content of a dataset file before the file is replaced or removed.

        A hard link costs no space, and the file stays visible to readers of the dataset. On file systems without hard
        links the file is moved into the store.
        """
        if sha in self._listed[self.files]:
            return
        kept = self.files / sha
        try:
            os.link(path, kept)
        except OSError:
            path.replace(kept)
        self._listed[self.files].add(sha)

    def write_to(self, sha: str, path: Path, *, leave: bool, mtime: int | None) -> None:
        """Move a content, or with `leave` a copy of it, to `path` atomically; `mtime` is in nanoseconds."""
        home = self._folder_of(sha)
        source = home / sha
        if leave:
            source = Path(shutil.copy2(source, self.new / f"{sha}.copy"))
        else:
            self._listed[home].remove(sha)
        if mtime is not None:
            os.utime(source, ns=(mtime, mtime))
        source.replace(path)

    def create_folders(self) -> None:
        """Create the folders if they are missing, and list their contents."""
        for home in self._listed:
            home.mkdir(parents=True, exist_ok=True)
            with os.scandir(home) as entries:
                self._listed[home] = {entry.name for entry in entries}

    def open(self) -> None:
        """Create the folders and delete new contents that a killed command left.

        Raises:
            BakehouseError: the folder is not writable.
        """
        self.close()
        with writing_to(self.new):
            self.create_folders()

    def close(self) -> None:
        """Delete new contents that no step uses."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.new)
