"""Where the contents lie that a dataset held before, and those that it is about to hold: named by their sha256."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from bakehouse.core.files import flush_to_disk, sha256_bytes, sha256_file, writing_to

SMALL = 1 << 16
"""Bytes. Of what is no longer than a caption a copy stays here even if it only moved: its file may be edited later."""


class Store:
    """Contents of one dataset, in its `.bakehouse`.

    What was once in the dataset stays in `files/`. What a step has computed waits in `new/` and is thrown away if the
    step never comes to be. Both are listed once, by `make`: whoever changes a dataset does it alone.
    """

    def __init__(self, home: Path) -> None:
        self.files = home / "files"
        self.new = home / "new"
        self._listed: dict[Path, set[str]] = {self.new: set(), self.files: set()}

    def put(self, content: bytes | Path) -> str:
        """Takes new content in; a path is moved here. Gives its sha256. On the disk it is after `flush` alone.

        Raises:
            BakehouseError: the disk is full, or the folder cannot be written.
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
        """Waits until all contents are on the disk: what a step needs before it is noted.

        Raises:
            BakehouseError: the disk is full or broken.
        """
        with writing_to(self.new):
            flush_to_disk(self.new)

    def has(self, sha: str) -> bool:
        """Whether a content is here."""
        return any(sha in names for names in self._listed.values())

    def is_whole(self, sha: str) -> bool:
        """Whether a content is here and its bytes are still the right ones."""
        return self.has(sha) and sha256_file(self._home(sha) / sha) == sha

    def size(self, sha: str) -> int:
        """Of a content that is here, in bytes."""
        return (self._home(sha) / sha).stat().st_size

    def _home(self, sha: str) -> Path:
        return next(home for home, names in self._listed.items() if sha in names)

    def keep(self, path: Path, sha: str) -> None:
        """Makes sure of the content of a file of the dataset before the file goes.

        A second name for the same bytes costs nothing, and whoever reads the dataset meanwhile misses no file. Where
        the file system knows no second names, the file moves here.
        """
        if sha in self._listed[self.files]:
            return
        kept = self.files / sha
        try:
            os.link(path, kept)
        except OSError:
            path.replace(kept)
        self._listed[self.files].add(sha)

    def place(self, sha: str, path: Path, *, leave: bool, mtime: int | None) -> None:
        """Puts a content that is here, or with `leave` a copy of it, at `path` in one move; `mtime` is in ns."""
        home = self._home(sha)
        source = home / sha
        if leave:
            source = Path(shutil.copy2(source, self.new / f"{sha}.copy"))
        else:
            self._listed[home].remove(sha)
        if mtime is not None:
            os.utime(source, ns=(mtime, mtime))
        source.replace(path)

    def make(self) -> None:
        """Makes the folders, where there are none, and lists what lies in them."""
        for home in self._listed:
            home.mkdir(parents=True, exist_ok=True)
            with os.scandir(home) as entries:
                self._listed[home] = {entry.name for entry in entries}

    def open(self) -> None:
        """Makes the folders, and empties that for new contents of what a killed command left.

        Raises:
            BakehouseError: the folder cannot be written.
        """
        self.close()
        with writing_to(self.new):
            self.make()

    def close(self) -> None:
        """Throws away new contents that no step took."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.new)
