"""A dataset while it is changed: behind its lock, with its journal and its store."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import sha256_file, writing_to
from bakehouse.core.folder_lock import locked
from bakehouse.core.pluralize import listed
from bakehouse.curation.blob_store import SMALL, Store
from bakehouse.curation.changeset import HOME
from bakehouse.curation.journal import Change, Journal, State, Step

_ENDS: dict[State, State] = {"applying": "done", "undoing": "undone"}


@contextlib.contextmanager
def at_work(folder: Path, doing: str) -> Iterator[Desk]:
    """Keeps others out of the dataset for the length of the block, and first finishes what a killed command left.

    Raises:
        InUseError: another process is at work there.
        BakehouseError: the folder cannot be written.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint="give the folder that holds the images")
    home = folder / HOME
    with locked(home, doing):
        desk = Desk(folder, Journal(home / "steps"), Store(home))
        for left in (step for step in desk.journal.steps() if step.under_way):
            desk.finish(left)
        desk.journal.tidy()
        desk.store.open()
        try:
            yield desk
        finally:
            # A step that a full disk has stopped half-way still needs its contents.
            if not any(step.under_way for step in desk.journal.steps()):
                desk.store.close()


@dataclass(frozen=True)
class Desk:
    """One dataset behind its lock."""

    folder: Path
    journal: Journal
    store: Store

    def finish(self, step: Step) -> Step:
        """Carries a step on its way to its end; to do it again, or from the middle, is the same as to do it once.

        Where somebody changed files by hand while the step lay half-way, contents that were theirs alone may be gone;
        what needs them is left out of the step.

        Raises:
            BakehouseError: the disk is full, or the folder cannot be written; the next command goes on from there.
        """
        undoing = step.state == "undoing"
        changes = [change.backwards() for change in step.changes] if undoing else list(step.changes)
        standing = [s for s in self.journal.steps() if s.state == "done" and s.number != step.number]
        standing += [] if undoing else [step]
        with writing_to(self.folder):
            self.store.make()
            pending = [(c, now) for c in changes if (now := self._kept(c)) != c.after]
            gone = {c.after for c, _ in pending if c.after and not self.store.has(c.after)}
            pending = [(c, now) for c, now in pending if c.after not in gone]
            for change, now in pending:
                if now not in (None, change.before):
                    self._put_aside(change.path, step.number)
            self._clear([c for c, _ in pending if c.after is None])
            self._fill([(c, sha) for c, _ in pending if (sha := c.after)], standing)
        self.store.flush()
        kept = tuple(c for c in step.changes if c.before not in gone and c.after not in gone)
        return self.journal.write(replace(step, changes=kept, state=_ENDS[step.state]))

    def _kept(self, change: Change) -> str | None:
        """What a path holds now; if that is what it held before the step, it is in the store from here on."""
        path = self.folder / change.path
        now = _content(path)
        if now is not None and now == change.before:
            self.store.keep(path, now)
        return now

    def _put_aside(self, name: PurePosixPath, number: int) -> None:
        """What somebody made of a file by hand is nobody's to throw away."""
        place = self.aside(number) / name
        count = 1
        while place.exists():
            count += 1
            place = self.aside(number) / name.with_name(f"{name.stem}.{count}{name.suffix}")
        place.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).rename(place)

    def aside(self, number: int) -> Path:
        """Where edits by hand lie that were in the way of a step."""
        return self.folder / HOME / "aside" / f"{number:04d}"

    def _clear(self, changes: list[Change]) -> None:
        """Takes away what is in the store by now, and the folders that have become empty."""
        for change in changes:
            path = self.folder / change.path
            path.unlink(missing_ok=True)
            for parent in path.parents[: len(change.path.parts) - 1]:
                try:
                    parent.rmdir()
                except OSError:  # others are in it
                    break

    def _fill(self, coming: list[tuple[Change, str]], standing: list[Step]) -> None:
        """Puts contents in place. One that no step may ask for leaves the store: moving a dataset copies nothing."""
        needed = {sha for step in standing for sha in step.needs()}
        moved = {sha for step in standing for sha in step.befores()} - needed
        still = Counter(sha for _, sha in coming)
        for folder in {change.path.parent for change, _ in coming}:
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        for change, sha in coming:
            still[sha] -= 1
            asked = sha in needed or (sha in moved and self.store.size(sha) <= SMALL)
            leave = still[sha] > 0 or asked
            self.store.place(sha, self.folder / change.path, leave=leave, mtime=change.after_mtime)

    def check(self, step: Step, *, keep_edits: bool) -> None:
        """Looks before anything is moved whether a step can be taken back.

        Raises:
            UsageError: names the files that were changed by hand since, unless those may be put aside.
            BakehouseError: names the files whose contents are gone or damaged.
        """
        now = {change.path: _content(self.folder / change.path) for change in step.changes}
        edited = [c.path for c in step.changes if now[c.path] not in (c.after, c.before)]
        if edited and not keep_edits:
            raise UsageError(
                f"{len(edited)} of the files of step {step.number} ({step.verb}) were changed since: "
                f"{listed(edited, 8)}",
                hint=f"--keep-edits puts them as they are now into {self.aside(step.number)} and takes the step back",
            )

        there = {c.after for c in step.changes if c.after and now[c.path] == c.after}
        lost = [
            c.path for c in step.changes if c.before and c.before not in there and not self.store.is_whole(c.before)
        ]
        if lost:
            where = self.store.files
            raise BakehouseError(
                f"step {step.number} ({step.verb}) cannot be taken back: {where} has lost {listed(lost, 8)}",
                hint="bring that folder back from a copy, or what was moved and then edited; nothing was changed",
            )


def _content(path: Path) -> str | None:
    """The sha256 of what a path holds now, or None."""
    return sha256_file(path) if path.is_file() else None
