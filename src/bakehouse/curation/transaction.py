"""Transactions on a dataset: its lock, journal and blob store while a step is applied or undone."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import sha256_file, writing_to
from bakehouse.core.folder_lock import locked
from bakehouse.core.message_text import counted, listed
from bakehouse.curation.blob_store import SMALL_FILE, BlobStore
from bakehouse.curation.changeset import HISTORY_FOLDER
from bakehouse.curation.journal import Change, Journal, State, Step

_FINAL_STATE: dict[State, State] = {"applying": "done", "undoing": "undone"}


@contextlib.contextmanager
def open_transaction(folder: Path, command: str) -> Iterator[Transaction]:
    """Lock the dataset for the length of the block; first complete the steps that a killed command left unfinished.

    Args:
        folder: the dataset.
        command: shown to other processes as the holder of the lock.

    Raises:
        InUseError: another process holds the lock.
        BakehouseError: the folder is not writable.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint="pass the folder that holds the images")
    home = folder / HISTORY_FOLDER
    with locked(home, command):
        transaction = Transaction(folder, Journal(home / "steps"), BlobStore(home))
        for unfinished in (step for step in transaction.journal.steps() if step.in_progress):
            transaction.complete(unfinished)
        transaction.journal.tidy()
        transaction.store.open()
        try:
            yield transaction
        finally:
            # A step that was interrupted by a full disk still needs its contents.
            if not any(step.in_progress for step in transaction.journal.steps()):
                transaction.store.close()


@dataclass(frozen=True)
class Transaction:
    """One locked dataset."""

    folder: Path
    journal: Journal
    store: BlobStore

    def complete(self, step: Step) -> Step:
        """Complete a step that is being applied or undone; return it in its final state. Idempotent.

        If files were changed by hand while the step was unfinished, contents that only they held may be lost; changes
        that need them are removed from the step.

        Raises:
            BakehouseError: the disk is full, or the folder is not writable; the next command completes the step.
        """
        undoing = step.state == "undoing"
        changes = [change.inverted() for change in step.changes] if undoing else list(step.changes)
        applied = [s for s in self.journal.steps() if s.state == "done" and s.number != step.number]
        applied += [] if undoing else [step]
        with writing_to(self.folder):
            self.store.create_folders()
            pending = [(c, now) for c in changes if (now := self._preserve_current(c)) != c.after]
            missing = {c.after for c, _ in pending if c.after and not self.store.has(c.after)}
            pending = [(c, now) for c, now in pending if c.after not in missing]
            for change, now in pending:
                if now not in (None, change.before):
                    self._move_aside(change.path, step.number)
            self._remove_files([c for c, _ in pending if c.after is None])
            self._write_files([(c, sha) for c, _ in pending if (sha := c.after)], applied)
        self.store.flush()
        kept = tuple(c for c in step.changes if c.before not in missing and c.after not in missing)
        return self.journal.write(replace(step, changes=kept, state=_FINAL_STATE[step.state]))

    def _preserve_current(self, change: Change) -> str | None:
        """Return the sha256 of a path's current content; put it into the store if the step found it there."""
        path = self.folder / change.path
        now = _current_sha256(path)
        if now is not None and now == change.before:
            self.store.preserve(path, now)
        return now

    def _move_aside(self, name: PurePosixPath, number: int) -> None:
        """Move a file that was edited by hand out of the way of a step, without overwriting an earlier one."""
        place = self.aside_folder(number) / name
        count = 1
        while place.exists():
            count += 1
            place = self.aside_folder(number) / name.with_name(f"{name.stem}.{count}{name.suffix}")
        place.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).rename(place)

    def aside_folder(self, number: int) -> Path:
        """Return the folder for hand-edited files that were in the way of a step."""
        return self.folder / HISTORY_FOLDER / "aside" / f"{number:04d}"

    def _remove_files(self, changes: list[Change]) -> None:
        """Remove files, whose contents are in the store by now, and folders that became empty."""
        for change in changes:
            path = self.folder / change.path
            path.unlink(missing_ok=True)
            for parent in path.parents[: len(change.path.parts) - 1]:
                try:
                    parent.rmdir()
                except OSError:  # not empty
                    break

    def _write_files(self, writes: list[tuple[Change, str]], applied: list[Step]) -> None:
        """Write contents from the store. Those that no applied step needs leave the store, so moves copy nothing."""
        needed = {sha for step in applied for sha in step.contents_needed_to_undo()}
        moved = {sha for step in applied for sha in step.old_contents()} - needed
        remaining = Counter(sha for _, sha in writes)
        for folder in {change.path.parent for change, _ in writes}:
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        for change, sha in writes:
            remaining[sha] -= 1
            needed_later = sha in needed or (sha in moved and self.store.size(sha) <= SMALL_FILE)
            leave = remaining[sha] > 0 or needed_later
            self.store.write_to(sha, self.folder / change.path, leave=leave, mtime=change.after_mtime)

    def check_undoable(self, step: Step, *, keep_edits: bool) -> None:
        """Check, before anything is changed, that a step can be undone.

        Raises:
            UsageError: files were changed by hand since, and `keep_edits` is not set.
            BakehouseError: old contents are missing or damaged.
        """
        now = {change.path: _current_sha256(self.folder / change.path) for change in step.changes}
        edited = [c.path for c in step.changes if now[c.path] not in (c.after, c.before)]
        if edited and not keep_edits:
            raise UsageError(
                f"cannot undo step {step.number} ({step.operation}): {counted(len(edited), 'file')} changed since: "
                f"{listed(edited)}",
                hint=f"--keep-edits moves the changed files to {self.aside_folder(step.number)} and undoes the step",
            )

        there = {c.after for c in step.changes if c.after and now[c.path] == c.after}
        lost = [
            c.path for c in step.changes if c.before and c.before not in there and not self.store.is_intact(c.before)
        ]
        if lost:
            where = self.store.files
            raise BakehouseError(
                f"cannot undo step {step.number} ({step.operation}): {where} lacks the old contents of {listed(lost)}",
                hint="restore that folder, or the moved files that were edited, from a backup; nothing was changed",
            )


def _current_sha256(path: Path) -> str | None:
    """Return the sha256 of a path's current content, or None if there is no file."""
    return sha256_file(path) if path.is_file() else None
