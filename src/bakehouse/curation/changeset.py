"""Proposed edits of a dataset, and their resolution into one change per path with a check for conflicts."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from bakehouse.core.errors import Problems
from bakehouse.core.files import sha256_file
from bakehouse.core.message_text import counted
from bakehouse.curation.journal import Change
from bakehouse.data.scan import name_key

HISTORY_FOLDER = ".bakehouse"
"""The folder in a dataset that holds its history and old contents."""


@dataclass(frozen=True)
class Write:
    """Create a file or replace its content."""

    path: PurePosixPath
    content: bytes | Path
    """Bytes, or a file outside the dataset, which is moved in."""
    mtime: int | None = None
    """Modification time in nanoseconds since the epoch; None: now."""


@dataclass(frozen=True)
class Remove:
    """Remove a file; its content is kept in the store."""

    path: PurePosixPath


@dataclass(frozen=True)
class Move:
    """Move or rename a file; content and modification time stay."""

    path: PurePosixPath
    to: PurePosixPath


Edit = Write | Remove | Move


@dataclass(frozen=True)
class Proposal:
    """What an operation would do about one image or file, before any content is computed or written."""

    path: PurePosixPath
    """The image or file, relative to the dataset."""
    why: str
    """The reason, one clause with figures: "a uniform border: 12 px left, 40 px right"."""
    make_edits: Callable[[], Sequence[Edit]]
    """Compute the edits. Called only to preview or apply them, from one of several threads."""
    source: PurePosixPath | None = None
    """The image that this one is a crop of; of a duplicate, the copy that stays. Relative to the dataset."""
    box: tuple[int, int, int, int] | None = None
    """Left, top, right and bottom of a crop in `source`, in pixels."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        found: dict[str, Any] = {"path": str(self.path), "why": self.why}
        found |= {} if self.source is None else {"source": str(self.source)}
        return found | ({} if self.box is None else {"box": list(self.box)})


@dataclass(frozen=True)
class StoredEdit:
    """An edit whose content is in the store."""

    edit: Edit
    why: str
    sha256: str = ""
    """Hash of the content of a `Write`; empty for other edits."""


def resolve_changes(folder: Path, edits: Sequence[StoredEdit]) -> tuple[Change, ...]:
    """Return the edits as one change per path, without those that change nothing.

    Raises:
        Problems: edits conflict with each other, leave the folder, or name missing files.
    """
    builder = _ChangesetBuilder(folder)
    for edit in edits:
        builder.add(edit)
    builder.check_targets()
    if builder.problems:
        count = len(builder.problems)
        title = f"{folder}: the changes conflict; nothing was changed ({counted(count, 'problem')}):"
        raise Problems(title, builder.problems)
    return tuple(change for change in builder.changes() if change.before != change.after)


@dataclass
class _ChangesetBuilder:
    """Collects the edits of a step by path, with the problems found."""

    folder: Path
    removals: dict[PurePosixPath, str] = field(default_factory=dict)
    """Paths whose current content is removed or moved away, with the reason."""
    writes: dict[PurePosixPath, tuple[str, str, int | None]] = field(default_factory=dict)
    """Paths that get new content: its sha256, the reason, and its modification time if it keeps one."""
    moved_to: list[PurePosixPath] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    current: dict[PurePosixPath, tuple[str, int] | None] = field(default_factory=dict)
    """Current content of each path: sha256 and modification time; None: no file."""
    links: dict[PurePosixPath, PurePosixPath | None] = field(default_factory=dict)
    """For each folder the symbolic link through which it is reached, if any."""

    def add(self, stored: StoredEdit) -> None:
        edit = stored.edit
        paths = (edit.path, edit.to) if isinstance(edit, Move) else (edit.path,)
        if wrong := [reason for path in paths if (reason := self._inspect(path))]:
            self.problems += wrong
            return
        if isinstance(edit, Write):
            self._add_write(edit.path, stored.sha256, stored.why, edit.mtime)
            return
        held = self.current[edit.path]
        if held is None:
            self.problems.append(f"{edit.path} does not exist")
            return
        self._add_removal(edit.path, stored.why)
        if isinstance(edit, Move):
            self.moved_to.append(edit.to)
            self._add_write(edit.to, held[0], stored.why, held[1])

    def _add_removal(self, path: PurePosixPath, why: str) -> None:
        if path in self.removals:
            self.problems.append(f"{path} is moved or removed twice: {self.removals[path]}; {why}")
        self.removals[path] = why

    def _add_write(self, path: PurePosixPath, sha: str, why: str, mtime: int | None) -> None:
        if path in self.writes:
            self.problems.append(f"{path} is written twice: {self.writes[path][1]}; {why}")
        self.writes[path] = (sha, why, mtime)

    def _inspect(self, path: PurePosixPath) -> str:
        """Record the current content of a path; return why the path cannot be changed, or an empty string."""
        if path in self.current:
            return ""
        if path.is_absolute() or not path.parts or ".." in path.parts or path.parts[0] == HISTORY_FOLDER:
            return f"{path} is outside the dataset"
        here = self.folder / path
        try:
            there = os.lstat(here)
        except (FileNotFoundError, NotADirectoryError):
            there = None
        link = path if there and stat.S_ISLNK(there.st_mode) else self._link_above(path.parent)
        if link:
            return f"{path}: {link} is a link to files outside the dataset; -o OUT works on a copy without links"
        if there and stat.S_ISDIR(there.st_mode):
            return f"{path} is a folder"
        self.current[path] = (sha256_file(here), there.st_mtime_ns) if there and stat.S_ISREG(there.st_mode) else None
        return ""

    def _link_above(self, folder: PurePosixPath) -> PurePosixPath | None:
        """Return the outermost symbolic link on the way to a folder, if there is one."""
        if folder not in self.links:
            above = [part for part in (folder, *folder.parents) if part.parts and (self.folder / part).is_symlink()]
            self.links[folder] = above[-1] if above else None
        return self.links[folder]

    def check_targets(self) -> None:
        """Find moves onto existing files, names that differ only in case, and files in place of folders."""
        for path in self.moved_to:
            if self.current.get(path) is not None and path not in self.removals:
                self.problems.append(f"{path} exists already; a file cannot be moved onto it")
        alike = defaultdict(list)
        for path in self.writes:
            alike[name_key(path)].append(path)
        self.problems += [
            f"{' and '.join(map(str, paths))} are the same file on systems that ignore case"
            for paths in alike.values()
            if len(paths) > 1
        ]
        homes = {path.parent for path in self.writes}
        for parent in {parent for home in homes for parent in (home, *home.parents) if parent.parts}:
            here = self.folder / parent
            if parent in self.writes or (here.is_file() and parent not in self.removals):
                self.problems.append(f"{parent} is a file; a folder of that name is needed")

    def changes(self) -> Iterable[Change]:
        for path in (path for path in self.current if path in self.removals or path in self.writes):
            sha, why, mtime = self.writes.get(path, (None, self.removals.get(path, ""), None))
            before, age = self.current[path] or (None, None)
            yield Change(path, before, sha, why, before_mtime=age, after_mtime=mtime)
