"""Shows what is proposed for a dataset, what was done to it, and what was taken back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from rich.table import Table

from bakehouse.cli.render.consoles import notes, print_json, print_table, print_warnings
from bakehouse.cli.render.events import Painter
from bakehouse.cli.render.messages import MessageCollector
from bakehouse.cli.render.printing import say
from bakehouse.core.events import Progress, Warned
from bakehouse.core.pluralize import counted
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.image_import.import_images import ImportedSource
from bakehouse.curation.journal import Change, Step
from bakehouse.curation.sidecars import TEXT_SUFFIXES
from bakehouse.data import ImageSet

_SHOWN = 40
"""So many files are listed on a screen; `--json` has all."""

_SETTINGS = 160
"""Letters of a step's settings in the history; `--json` has all."""

Count = Callable[[int, int], None]


def counting(paint: Painter) -> Callable[[str], Count]:
    """What makes a callback (done, total) that shows how far a named piece of work is."""
    return lambda what: lambda done, total: paint(Progress(what=what, done=done, total=total))


def recovered_warning(step: Step) -> Warned:
    """Return the warning that an interrupted step of an earlier command was completed now."""
    what = "the undo of step" if step.state == "undoing" else "step"
    return Warned(message=f"{what} {step.number} ({step.operation}) had been interrupted; it is completed now")


def print_proposals(
    verb: str,
    images: ImageSet,
    proposals: Sequence[Proposal],
    *,
    messages: MessageCollector,
    page: Path | None = None,
    json: bool = False,
) -> None:
    """One line for each proposal, the page on which they are pictured, and what was passed over."""
    if json:
        listed = [{"path": str(p.path), "why": p.why} for p in proposals]
        document = {"verb": verb, "proposals": listed, "skipped": _skipped(images), "page": page}
        print_json(document | messages.to_json())
        return
    _print_lines([(str(p.path), p.why) for p in proposals])
    print_passed_over(images)
    what = f"{len(proposals)} to {verb}" if proposals else f"nothing to {verb}"
    say(f"{what} among {counted(len(images), 'image')}; nothing was changed{f': see {page}' if page else ''}")


def print_passed_over(images: ImageSet) -> None:
    """Names the files that cannot be used, and says why."""
    print_warnings(f"skipped {s.path.name}: {s.reason}" for s in images.skipped[:_SHOWN])


def print_step(
    verb: str, step: Step | None, folder: Path, *, images: ImageSet, messages: MessageCollector, json: bool = False
) -> None:
    """What was done, and how to take it back."""
    if json:
        document = step.to_json() if step else {"verb": verb, "changes": []}
        print_json(document | {"skipped": _skipped(images)} | messages.to_json())
        return
    if step is None:
        say(f"nothing to {verb}: {folder} is as it was")
        return
    _print_lines([(str(c.path), c.why) for c in _told(step.changes)])
    say(f"step {step.number} ({verb}): {done_by(step)} in {folder}")
    say(f"take it back with: bakehouse dataset undo {folder}")


def _skipped(images: ImageSet) -> list[dict[str, str]]:
    return [{"path": str(s.path), "reason": s.reason} for s in images.skipped]


def _told(changes: Sequence[Change]) -> list[Change]:
    """One change of those that an image and its caption had for one reason: of a file that was there, of the image."""
    groups: dict[tuple[PurePath, str], list[Change]] = {}
    for change in changes:
        if change.why:
            groups.setdefault((change.path.with_suffix(""), change.why), []).append(change)
    return [
        min(group, key=lambda c: (c.before is None, c.path.suffix.lower() in TEXT_SUFFIXES))
        for group in groups.values()
    ]


def print_undone(steps: Sequence[Step], folder: Path, *, json: bool = False) -> None:
    """What was taken back."""
    if json:
        print_json([step.to_json() for step in steps])
        return
    for step in steps:
        say(f"took back step {step.number} ({step.operation}): {done_by(step)}")
    say(f"{folder} is as it was before step {steps[-1].number}")


def print_history(steps: Sequence[Step], folder: Path, *, json: bool = False) -> None:
    """All steps of a dataset."""
    if json:
        print_json([step.to_json() for step in steps])
        return
    if not steps:
        notes().print(f"{folder} has no history: nothing was done to it", soft_wrap=True)
        return
    table = Table("step", "verb", "when", "state", "files", "settings", box=None, pad_edge=False)
    for step in steps:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(step.time))
        settings = _short(step.settings)[:_SETTINGS]
        table.add_row(str(step.number), step.operation, when, step.state, done_by(step), settings)
    print_table(table)


def _short(value: object) -> str:
    """Settings without brackets: `fuzz 0.04, kinds url watermark`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_short(part)}" for key, part in value.items() if part not in ("", None, [], {}))
    if isinstance(value, (list, tuple)):
        return ("; " if any(isinstance(part, Mapping) for part in value) else " ").join(map(_short, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def done_by(step: Step) -> str:
    """`3 files changed, 1 new, 2 gone`."""
    new = sum(c.before is None for c in step.changes)
    gone = sum(c.after is None for c in step.changes)
    changed = len(step.changes) - new - gone
    parts = [(changed, "changed"), (new, "new"), (gone, "gone")]
    return ", ".join(f"{count} {what}" for count, what in parts if count)


def _print_lines(lines: Sequence[tuple[str, Any]]) -> None:
    width = min(48, max((len(path) for path, _ in lines), default=0))
    for path, why in lines[:_SHOWN]:
        say(f"{path:<{width}}  {why}")
    if len(lines) > _SHOWN:
        say(f"... and {len(lines) - _SHOWN} more; --json has all")


def print_taken(
    taken: Sequence[ImportedSource],
    folder: Path,
    *,
    messages: MessageCollector,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """What came in from each source."""
    if json:
        listed = [{"source": t.source, "new": [str(p.path) for p in t.proposals], "step": _number(t)} for t in taken]
        print_json({"dataset": folder, "sources": listed} | messages.to_json())
        return
    for one in taken:
        if dry_run:
            _print_lines([(str(p.path), p.why) for p in one.proposals])
        if not one.proposals:
            say(f"{one.source}: nothing new")
        else:
            files = f"step {one.step.number}, {done_by(one.step)}" if one.step else "nothing was copied yet"
            say(f"{one.source}: {counted(len(one.proposals), 'image')}; {files}")
    if any(one.step for one in taken):
        say(f"take the last one back with: bakehouse dataset undo {folder}")


def _number(taken: ImportedSource) -> int | None:
    return taken.step.number if taken.step else None
