"""How a dataset is changed: by steps that can be taken back, whatever happens in between.

Nothing is overwritten or deleted. A step's new contents are first computed and put into the dataset's store
(`.bakehouse/`), then the step is noted as `applying`, then each path gets its new content in one move while the old one
stays in the store, then the step is `done`. Killed before the note, nothing has happened; killed after it, the next
command on the folder finishes the step.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bakehouse.core.cpu_threads import thread_pool
from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, OnEvent, ignore
from bakehouse.core.files import atomic_folder
from bakehouse.curation.changeset import HOME, Edit, Made, Move, Proposal, Remove, Write, changes_of
from bakehouse.curation.image_io import passed_over
from bakehouse.curation.journal import Change, Journal, Step
from bakehouse.curation.transaction import Desk, at_work
from bakehouse.data.open_image import ImageError

__all__ = [
    "HOME",
    "Change",
    "Edit",
    "Move",
    "Proposal",
    "Remove",
    "Step",
    "Write",
    "apply",
    "history",
    "last_done",
    "recover",
    "undo",
]

_PORTIONS = 1000
"""At most so many portions of work go to the threads: handing over ten thousand captions takes longer than they do."""


def apply(
    folder: Path | str,
    verb: str,
    proposals: Iterable[Proposal],
    *,
    settings: Mapping[str, object] | None = None,
    out: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_event: OnEvent = ignore,
) -> Step | None:
    """Does what is proposed as one step; None if it comes to nothing.

    Args:
        folder: the dataset.
        verb: the step's name: `trim`.
        proposals: what to do; no two may touch the same path.
        settings: what the verb was told, for the history.
        out: the dataset is copied there, without its history, and changed there; `folder` is only read.
        progress: called with (done, total) as proposals are made.
        on_event: called with a warning for each image that is skipped: it or its mask cannot be decoded.

    Raises:
        InUseError: another process is at work in the folder.
        Problems: edits that contradict each other, leave the folder, or name what is not there; nothing was changed.
        BakehouseError: a proposal failed (nothing was changed), or the disk is full.
    """
    wanted = tuple(proposals)
    if out is None:
        return _apply(Path(folder), verb, wanted, settings or {}, progress, on_event)
    with _copy_of(Path(folder), Path(out)) as copy:
        return _apply(copy, verb, wanted, settings or {}, progress, on_event)


def undo(folder: Path | str, *, keep_edits: bool = False) -> Step:
    """Takes the last step back that is not yet taken back: every file is as it was, byte for byte and as old.

    Args:
        folder: the dataset.
        keep_edits: files that were changed since go to `.bakehouse/aside/` instead of being in the way.

    Raises:
        UsageError: there is no step, or files were changed by hand since.
        BakehouseError: the store was damaged, or the folder cannot be written.
    """
    folder = Path(folder)
    steps = history(folder)
    if not steps:
        raise UsageError(f"{folder} has no steps to take back", hint="`bakehouse dataset` commands make them")
    with at_work(folder, "dataset undo") as desk:
        if left := next((step for step in steps if step.state == "undoing"), None):
            return replace(left, state="undone")  # the same command again goes on, and takes no further step back
        last = next((step for step in reversed(desk.journal.steps()) if step.state == "done"), None)
        if last is None:
            raise UsageError(f"{folder} is as it was before its first step: nothing to take back")
        desk.check(last, keep_edits=keep_edits)
        return desk.finish(desk.journal.write(replace(last, state="undoing")))


def history(folder: Path | str) -> tuple[Step, ...]:
    """Every step of a dataset, also those that were taken back; the first one first.

    Raises:
        BakehouseError: a file of the journal cannot be understood.
    """
    return Journal(Path(folder) / HOME / "steps").steps()


def last_done(folder: Path | str) -> Step | None:
    """The step that `undo` would take back."""
    return next((step for step in reversed(history(folder)) if step.state == "done"), None)


def recover(folder: Path | str) -> Step | None:
    """Finishes the step that a killed command left on its way; None if there is none. Call it before looking.

    Raises:
        InUseError: the step is not forgotten: another process is at it.
    """
    left = next((step for step in history(folder) if step.under_way), None)
    if left is not None:
        with at_work(Path(folder), "dataset recovery"):
            pass
    return left


def _apply(
    folder: Path,
    verb: str,
    proposals: Sequence[Proposal],
    settings: Mapping[str, object],
    progress: Callable[[int, int], None] | None,
    on_event: OnEvent,
) -> Step | None:
    if not proposals:
        return None
    with at_work(folder, f"dataset {verb}") as desk:
        changes = changes_of(folder, _made(proposals, desk, progress, on_event))
        if not changes:
            return None
        number = max((step.number for step in desk.journal.steps()), default=0) + 1
        step = Step(number, verb, settings, "applying", time.time(), changes)
        desk.store.flush()  # from the note on, the step can be finished whatever happens
        return desk.finish(desk.journal.write(step))


def _made(
    proposals: Sequence[Proposal],
    desk: Desk,
    progress: Callable[[int, int], None] | None,
    on_event: OnEvent,
) -> list[Made]:
    """Computes all edits, several at once; their contents go into the store as they come, so memory holds few.

    The threads compute and this one writes: over ten thousand small files they would only stand in each other's way.
    """

    def make(portion: Sequence[Proposal]) -> list[tuple[Edit, str] | Event]:
        found: list[tuple[Edit, str] | Event] = []
        for proposal in portion:
            try:
                found += [(edit, proposal.why) for edit in proposal.make()]
            except ImageError as error:
                found.append(passed_over(proposal.path, error))
        return found

    made: list[Made] = []
    size = len(proposals) // _PORTIONS + 1
    portions = [proposals[start : start + size] for start in range(0, len(proposals), size)]
    with thread_pool() as pool:
        for number, edits in enumerate(pool.map(make, portions), 1):
            for one in edits:
                if isinstance(one, Event):
                    on_event(one)
                    continue
                edit, why = one
                made.append(Made(edit, why, desk.store.put(edit.content) if isinstance(edit, Write) else ""))
            if progress is not None:
                progress(min(number * size, len(proposals)), len(proposals))
    return made


@contextlib.contextmanager
def _copy_of(folder: Path, out: Path) -> Iterator[Path]:
    """A copy of a dataset that gets the name `out` when the block ends well; links become what they lead to.

    Raises:
        UsageError: `out` holds something, or one folder lies in the other.
        BakehouseError: the place cannot be written; there is no `out` then.
    """
    inside, outside = folder.resolve(), out.resolve()
    if inside == outside or inside in outside.parents or outside in inside.parents:
        raise UsageError(f"-o {out} and {folder} lie in each other", hint="choose a folder beside it")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"-o {out} is there already and not empty", hint="choose a new folder, or remove it")
    with atomic_folder(out) as copy:
        for source, name in _files_of(folder):
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            age = source.stat().st_mtime_ns
            os.utime(target, ns=(age, age))
        yield copy


def _files_of(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Every file of a dataset but its history, and its path below it; a folder that links lead to twice comes once."""
    entered = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(set(folders) - {HOME})
        here = Path(where)
        yield from ((here / n, (here / n).relative_to(folder)) for n in sorted(names) if (here / n).is_file())
