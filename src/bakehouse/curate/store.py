"""Where the contents lie that a dataset held before, and those that it is about to hold: named by their sha256."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from bakehouse.core.files import atomic_path, sha256_bytes, sha256_file, write_bytes, writing_to

SMALL = 1 << 16
"""Bytes. What is no longer than a caption stays here even if it only moved: its file may be edited by hand later."""


class Store:
    """Contents of one dataset, in its `.bakehouse`.

    What was once in the dataset stays in `files/`. What a step has computed waits in `new/` and is thrown away if the
    step never comes to be.
    """

    def __init__(self, home: Path) -> None:
        self.files = home / "files"
        self.new = home / "new"

    def put(self, content: bytes | Path) -> str:
        """Takes new content in, whole and flushed to the disk; a path is moved here. Gives its sha256.

        Raises:
            BakehouseError: the disk is full, or the folder cannot be written.
        """
        if isinstance(content, bytes):
            sha = sha256_bytes(content)
            if self.find(sha) is None:
                write_bytes(self.new / sha, content)
            return sha
        sha = sha256_file(content)
        if self.find(sha) is None:
            with atomic_path(self.new / sha) as temporary:
                shutil.move(content, temporary)
        content.unlink(missing_ok=True)
        return sha

    def find(self, sha: str) -> Path | None:
        """Where a content lies, or None."""
        return next((path for path in (self.new / sha, self.files / sha) if path.is_file()), None)

    def is_whole(self, sha: str) -> bool:
        """Whether a content is here and its bytes are still the right ones."""
        path = self.find(sha)
        return path is not None and sha256_file(path) == sha

    def keep(self, path: Path, sha: str) -> None:
        """Makes sure of the content of a file of the dataset before the file goes.

        A second name for the same bytes costs nothing, and whoever reads the dataset meanwhile misses no file. Where
        the file system knows no second names, the file moves here.
        """
        kept = self.files / sha
        if kept.is_file():
            return
        self.files.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, kept)
        except FileExistsError:
            return
        except OSError:
            path.replace(kept)

    def place(self, sha: str, path: Path, *, move: bool, mtime: int | None) -> None:
        """Puts a content at `path` in one move, with the age `mtime` (nanoseconds); large ones leave with `move`."""
        source = self.find(sha)
        if source is None:
            raise FileNotFoundError(f"the store has lost {sha}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not move or source.stat().st_size <= SMALL:
            source = Path(shutil.copy2(source, self.new / f"{sha}.copy"))
        if mtime is not None:
            os.utime(source, ns=(mtime, mtime))
        source.replace(path)

    def open(self) -> None:
        """Makes the folder for new contents, and empties it of what a killed command left.

        Raises:
            BakehouseError: the folder cannot be written.
        """
        self.close()
        with writing_to(self.new):
            self.new.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Throws away new contents that no step took."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.new)
