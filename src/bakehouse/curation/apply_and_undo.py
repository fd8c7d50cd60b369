"""Apply and undo steps on a dataset; a step survives a crash at any moment.

Nothing is overwritten or deleted. The new contents are computed and put into the dataset's store (`.bakehouse/`), then
the step is recorded as `applying`, then each path gets its new content by an atomic move while the old content stays in
the store, then the step is recorded as `done`. A command that is killed before the record has changed nothing; after
it, the next command on the folder completes the step.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, OnEvent, ignore
from bakehouse.core.files import atomic_folder
from bakehouse.core.thread_pool import thread_pool
from bakehouse.curation.changeset import (
    HISTORY_FOLDER,
    Edit,
    Move,
    Proposal,
    Remove,
    StoredEdit,
    Write,
    resolve_changes,
)
from bakehouse.curation.journal import Change, Journal, Step
from bakehouse.curation.open_records import skip_warning
from bakehouse.curation.transaction import Transaction, open_transaction
from bakehouse.data.open_image import ImageError

__all__ = [
    "HISTORY_FOLDER",
    "Change",
    "Edit",
    "Move",
    "Proposal",
    "Remove",
    "Step",
    "Write",
    "apply_proposals",
    "last_applied",
    "read_history",
    "recover",
    "undo",
]

_MAX_BATCHES = 1000
"""Most batches of work for the threads: passing ten thousand captions one by one takes longer than writing them."""


def apply_proposals(
    folder: Path | str,
    operation: str,
    proposals: Iterable[Proposal],
    *,
    settings: Mapping[str, object] | None = None,
    out: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_event: OnEvent = ignore,
) -> Step | None:
    """Apply proposals as one step; return it, or None if nothing changes.

    Args:
        folder: the dataset.
        operation: name of the step, such as `trim`.
        proposals: no two may touch the same path.
        settings: the operation's settings, for the history.
        out: copy the dataset there, without its history, and change the copy; `folder` is only read.
        progress: called with (done, total) as the edits are computed.
        on_event: called with a warning for each image that is skipped because it or its mask cannot be decoded.

    Raises:
        InUseError: another process holds the dataset's lock.
        Problems: edits conflict, leave the folder, or name missing files; nothing was changed.
        BakehouseError: computing the edits failed (nothing was changed), or the disk is full.
    """
    proposals = tuple(proposals)
    if out is None:
        return _apply_in_place(Path(folder), operation, proposals, settings or {}, progress, on_event)
    with _copied_dataset(Path(folder), Path(out)) as copy:
        return _apply_in_place(copy, operation, proposals, settings or {}, progress, on_event)


def undo(folder: Path | str, *, keep_edits: bool = False) -> Step:
    """Undo the last applied step and return it: every file has its old bytes and modification time again.

    Args:
        folder: the dataset.
        keep_edits: move files that were changed since to `.bakehouse/aside/` instead of refusing.

    Raises:
        UsageError: there is no step to undo, or files were changed by hand since.
        BakehouseError: the store is damaged, or the folder is not writable.
    """
    folder = Path(folder)
    steps = read_history(folder)
    if not steps:
        raise UsageError(
            f"{folder} has no history: there is nothing to undo",
            hint="check the folder; only changes by bakehouse are undone",
        )
    with open_transaction(folder, "dataset undo") as transaction:
        if unfinished := next((step for step in steps if step.state == "undoing"), None):
            return replace(unfinished, state="undone")  # the interrupted undo was completed; undo no further step
        last = next((step for step in reversed(transaction.journal.steps()) if step.state == "done"), None)
        if last is None:
            raise UsageError(f"{folder} has no applied step left to undo")
        transaction.check_undoable(last, keep_edits=keep_edits)
        return transaction.complete(transaction.journal.write(replace(last, state="undoing")))


def read_history(folder: Path | str) -> tuple[Step, ...]:
    """Return every step of a dataset, including undone ones, oldest first.

    Raises:
        BakehouseError: a file of the journal cannot be read.
    """
    return Journal(Path(folder) / HISTORY_FOLDER / "steps").steps()


def last_applied(folder: Path | str) -> Step | None:
    """Return the step that `undo` would undo, or None."""
    return next((step for step in reversed(read_history(folder)) if step.state == "done"), None)


def recover(folder: Path | str) -> Step | None:
    """Complete the step that a killed command left unfinished and return it, or None. Call before reading a dataset.

    Raises:
        InUseError: another process is still working on the step.
    """
    unfinished = next((step for step in read_history(folder) if step.in_progress), None)
    if unfinished is not None:
        with open_transaction(Path(folder), "dataset recovery"):
            pass
    return unfinished


def _apply_in_place(
    folder: Path,
    operation: str,
    proposals: Sequence[Proposal],
    settings: Mapping[str, object],
    progress: Callable[[int, int], None] | None,
    on_event: OnEvent,
) -> Step | None:
    if not proposals:
        return None
    with open_transaction(folder, f"dataset {operation}") as transaction:
        changes = resolve_changes(folder, _compute_edits(proposals, transaction, progress, on_event))
        if not changes:
            return None
        number = max((step.number for step in transaction.journal.steps()), default=0) + 1
        step = Step(number, operation, settings, "applying", time.time(), changes)
        transaction.store.flush()  # once the step is recorded, it must be possible to complete it
        return transaction.complete(transaction.journal.write(step))


def _compute_edits(
    proposals: Sequence[Proposal],
    transaction: Transaction,
    progress: Callable[[int, int], None] | None,
    on_event: OnEvent,
) -> list[StoredEdit]:
    """Compute all edits in threads and put their contents into the store as they come, so that memory holds few.

    Only this thread writes: with ten thousand small files, writing threads would slow each other down.
    """

    def compute(batch: Sequence[Proposal]) -> list[tuple[Edit, str] | Event]:
        results: list[tuple[Edit, str] | Event] = []
        for proposal in batch:
            try:
                results += [(edit, proposal.why) for edit in proposal.make_edits()]
            except ImageError as error:
                results.append(skip_warning(proposal.path, error))
        return results

    stored: list[StoredEdit] = []
    size = len(proposals) // _MAX_BATCHES + 1
    batches = [proposals[start : start + size] for start in range(0, len(proposals), size)]
    with thread_pool() as pool:
        for number, results in enumerate(pool.map(compute, batches), 1):
            for result in results:
                if isinstance(result, Event):
                    on_event(result)
                    continue
                edit, why = result
                sha = transaction.store.put(edit.content) if isinstance(edit, Write) else ""
                stored.append(StoredEdit(edit, why, sha))
            if progress is not None:
                progress(min(number * size, len(proposals)), len(proposals))
    return stored


@contextlib.contextmanager
def _copied_dataset(folder: Path, out: Path) -> Iterator[Path]:
    """Yield a copy of a dataset, which becomes `out` if the block succeeds; links are replaced by their targets.

    Raises:
        UsageError: `out` is not empty, or one folder contains the other.
        BakehouseError: `out` is not writable; it does not exist then.
    """
    inside, outside = folder.resolve(), out.resolve()
    if inside == outside or inside in outside.parents or outside in inside.parents:
        raise UsageError(
            f"-o {out} and the dataset {folder}: one contains the other", hint="choose a folder outside the dataset"
        )
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"-o {out} exists and is not empty", hint="choose a new folder, or remove it")
    with atomic_folder(out) as copy:
        for source, name in _dataset_files(folder):
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            age = source.stat().st_mtime_ns
            os.utime(target, ns=(age, age))
        yield copy


def _dataset_files(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield every file of a dataset except its history, with its relative path; linked folders are visited once."""
    entered = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(set(folders) - {HISTORY_FOLDER})
        here = Path(where)
        yield from ((here / n, (here / n).relative_to(folder)) for n in sorted(names) if (here / n).is_file())
