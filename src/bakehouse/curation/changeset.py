"""What a verb says it wants, and what that comes to for each path."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import Problems
from bakehouse.core.files import sha256_file
from bakehouse.core.pluralize import counted
from bakehouse.curation.journal import Change
from bakehouse.data.scan import nfc

HOME = ".bakehouse"
"""The folder in a dataset that holds its history."""


@dataclass(frozen=True)
class Write:
    """A file's new content, whether there is such a file or not."""

    path: PurePosixPath
    content: bytes | Path
    """Bytes, or a file from outside the dataset that is moved in."""
    mtime: int | None = None
    """How old the file shall look, in nanoseconds since the epoch; left out, it is new."""


@dataclass(frozen=True)
class Remove:
    """The file goes into the store."""

    path: PurePosixPath


@dataclass(frozen=True)
class Move:
    """The bytes stay as they are, and as old."""

    path: PurePosixPath
    to: PurePosixPath


Edit = Write | Remove | Move


@dataclass(frozen=True)
class Proposal:
    """What a verb wants to do about one image or file, before anything is computed or written."""

    path: PurePosixPath
    """Of the image or file that it is about, below the folder."""
    why: str
    """One clause with figures: "a uniform border: 12 px left, 40 px right"."""
    make: Callable[[], Sequence[Edit]]
    """Computes the edits; called only for a preview or to apply, and then in one of several threads."""


@dataclass(frozen=True)
class Made:
    """An edit of which the content is in the store."""

    edit: Edit
    why: str
    sha256: str = ""
    """Of what is written; empty for the others."""


def changes_of(folder: Path, made: Sequence[Made]) -> tuple[Change, ...]:
    """The edits as one change for each path, without those that change nothing.

    Raises:
        Problems: edits that contradict each other, leave the folder, or name what is not there.
    """
    sheet = _Sheet(folder)
    for one in made:
        sheet.add(one)
    sheet.check_places()
    if sheet.problems:
        count = len(sheet.problems)
        title = f"this cannot be done to {folder}; nothing was changed ({counted(count, 'problem')}):"
        raise Problems(title, sheet.problems)
    return tuple(change for change in sheet.changes() if change.before != change.after)


@dataclass
class _Sheet:
    """All paths that a step touches, and what is to become of each."""

    folder: Path
    goes: dict[PurePosixPath, str] = field(default_factory=dict)
    """Paths that lose what they hold, and why."""
    comes: dict[PurePosixPath, tuple[str, str, int | None]] = field(default_factory=dict)
    """Paths that get a content: sha256, why, and the age that comes with it."""
    moved_to: list[PurePosixPath] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    held: dict[PurePosixPath, tuple[str, int] | None] = field(default_factory=dict)
    """What is there now: sha256 and age."""
    links: dict[PurePosixPath, PurePosixPath | None] = field(default_factory=dict)
    """Of folders: the link through which they are reached."""

    def add(self, made: Made) -> None:
        edit = made.edit
        paths = (edit.path, edit.to) if isinstance(edit, Move) else (edit.path,)
        if wrong := [reason for path in paths if (reason := self._look(path))]:
            self.problems += wrong
            return
        if isinstance(edit, Write):
            self._come(edit.path, made.sha256, made.why, edit.mtime)
            return
        held = self.held[edit.path]
        if held is None:
            self.problems.append(f"{edit.path} is not there")
            return
        self._go(edit.path, made.why)
        if isinstance(edit, Move):
            self.moved_to.append(edit.to)
            self._come(edit.to, held[0], made.why, held[1])

    def _go(self, path: PurePosixPath, why: str) -> None:
        if path in self.goes:
            self.problems.append(f"{path} is moved or removed twice: {self.goes[path]}; {why}")
        self.goes[path] = why

    def _come(self, path: PurePosixPath, sha: str, why: str, mtime: int | None) -> None:
        if path in self.comes:
            self.problems.append(f"{path} gets two contents: {self.comes[path][1]}; {why}")
        self.comes[path] = (sha, why, mtime)

    def _look(self, path: PurePosixPath) -> str:
        """Notes what a path holds; what is wrong with it, or an empty string."""
        if path in self.held:
            return ""
        if path.is_absolute() or not path.parts or ".." in path.parts or path.parts[0] == HOME:
            return f"{path} is no path below the folder"
        here = self.folder / path
        try:
            there = os.lstat(here)
        except (FileNotFoundError, NotADirectoryError):
            there = None
        link = path if there and stat.S_ISLNK(there.st_mode) else self._link_above(path.parent)
        if link:
            return f"{path}: {link} is a link, and what it leads to is not this folder's; -o OUT makes a whole copy"
        if there and stat.S_ISDIR(there.st_mode):
            return f"{path} is a folder"
        self.held[path] = (sha256_file(here), there.st_mtime_ns) if there and stat.S_ISREG(there.st_mode) else None
        return ""

    def _link_above(self, folder: PurePosixPath) -> PurePosixPath | None:
        """The outermost link that leads to a folder, if there is one."""
        if folder not in self.links:
            above = [part for part in (folder, *folder.parents) if part.parts and (self.folder / part).is_symlink()]
            self.links[folder] = above[-1] if above else None
        return self.links[folder]

    def check_places(self) -> None:
        """Nothing moves onto a file that stays; no two names differ only in case; no file is also a folder."""
        for path in self.moved_to:
            if self.held.get(path) is not None and path not in self.goes:
                self.problems.append(f"{path} is there already; nothing can be moved onto it")
        alike = defaultdict(list)
        for path in self.comes:
            alike[nfc(str(path)).casefold()].append(path)
        self.problems += [
            f"{' and '.join(map(str, paths))} are one file where case does not count"
            for paths in alike.values()
            if len(paths) > 1
        ]
        homes = {path.parent for path in self.comes}
        for parent in {parent for home in homes for parent in (home, *home.parents) if parent.parts}:
            here = self.folder / parent
            if parent in self.comes or (here.is_file() and parent not in self.goes):
                self.problems.append(f"{parent} is a file, and a folder of that name is wanted")

    def changes(self) -> Iterable[Change]:
        for path in (path for path in self.held if path in self.goes or path in self.comes):
            sha, why, mtime = self.comes.get(path, (None, self.goes.get(path, ""), None))
            before, age = self.held[path] or (None, None)
            yield Change(path, before, sha, why, before_mtime=age, after_mtime=mtime)
