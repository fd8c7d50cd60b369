"""Output of dataset operations: proposals, steps, undone steps, the history, imports."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, print_warnings, stderr_console
from bakehouse.cli.render.events import ProgressRenderer
from bakehouse.cli.render.message_collector import MessageCollector
from bakehouse.cli.render.safe_printing import echo, shell_command
from bakehouse.core.events import Warned, progress_callback
from bakehouse.core.message_text import counted
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.image_import.import_images import ImportedSource
from bakehouse.curation.journal import Change, Step
from bakehouse.curation.sidecars import TEXT_SUFFIXES
from bakehouse.data import ImageSet

_SHOWN = 40
"""Files that are listed; `--json` lists all."""

_SETTINGS = 160
"""Characters of a step's settings in the history; `--json` prints all."""

ProgressCallback = Callable[[int, int], None]


def progress_callbacks(on_event: ProgressRenderer) -> Callable[[str], ProgressCallback]:
    """Return a function from the name of a task to its callback (done, total), which renders its progress."""
    return lambda what: progress_callback(on_event, what)


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
    """Print one line for each proposal, the preview page, and the skipped files."""
    if json:
        document = {
            "verb": verb,
            "proposals": [p.to_json() for p in proposals],
            "skipped": skipped_files(images),
            "page": page,
        }
        print_json(document | messages.to_json())
        return
    _print_lines([(str(p.path), p.why) for p in proposals])
    print_skipped(images)
    number = counted(len(images), "image")
    if not proposals:
        echo(f"{verb}: nothing to change in {number}")
        return
    see = f"; see {page}" if page else ""
    echo(f"{verb}: {counted(len(proposals), 'change')} proposed for {number}; nothing was written to the dataset{see}")


def print_skipped(images: ImageSet) -> None:
    """Warn of each file that cannot be used, with the reason."""
    print_warnings(f"skipped {s.path.name}: {s.reason}" for s in images.skipped[:_SHOWN])


def print_step(
    verb: str, step: Step | None, folder: Path, *, images: ImageSet, messages: MessageCollector, json: bool = False
) -> None:
    """Print what was done, and how to undo it."""
    if json:
        document = step.to_json() if step else {"verb": verb, "changes": []}
        print_json(document | {"skipped": skipped_files(images)} | messages.to_json())
        return
    if step is None:
        echo(f"{verb}: nothing to change in {folder}")
        return
    _print_lines([(str(c.path), c.why) for c in _one_per_image(step.changes)])
    echo(f"step {step.number} ({verb}): {count_changes(step)} in {folder}")
    echo(f"undo with: {shell_command('bakehouse', 'dataset', 'undo', folder)}")


def skipped_files(images: ImageSet) -> list[dict[str, str]]:
    """Return the files that cannot be used, for `--json`."""
    return [{"path": str(s.path), "reason": s.reason} for s in images.skipped]


def _one_per_image(changes: Sequence[Change]) -> list[Change]:
    """Return one change of each image and its sidecars that share a reason; existing files and images first."""
    groups: dict[tuple[PurePath, str], list[Change]] = {}
    for change in changes:
        if change.why:
            groups.setdefault((change.path.with_suffix(""), change.why), []).append(change)
    firsts = [min(group, key=lambda c: (c.before is None, _is_sidecar(c))) for group in groups.values()]
    # A caption that moves to another image shares the reason of the image that goes: one line says both.
    of_images = {change.why for change in firsts if not _is_sidecar(change)}
    return [change for change in firsts if not _is_sidecar(change) or change.why not in of_images]


def _is_sidecar(change: Change) -> bool:
    return change.path.suffix.lower() in TEXT_SUFFIXES


def print_undone(steps: Sequence[Step], folder: Path, *, json: bool = False) -> None:
    """Print the undone steps."""
    if json:
        print_json([step.to_json() for step in steps])
        return
    for step in steps:
        echo(f"undid step {step.number} ({step.operation}): {count_changes(step)}")
    echo(f"{folder} is as it was before step {steps[-1].number}")


def print_history(steps: Sequence[Step], folder: Path, *, json: bool = False) -> None:
    """Print all steps of a dataset."""
    if json:
        print_json([step.to_json() for step in steps])
        return
    if not steps:
        stderr_console().print(f"{folder} has no history: no command has changed it", soft_wrap=True)
        return
    table = Table("step", "command", "date", "state", "files", "settings", box=None, pad_edge=False)
    for step in steps:
        date = time.strftime("%Y-%m-%d %H:%M", time.localtime(step.time))
        settings = _short(step.settings)[:_SETTINGS]
        table.add_row(str(step.number), step.operation, date, step.state, count_changes(step), settings)
    print_table(table)


def _short(value: object) -> str:
    """Return settings as text without brackets: `fuzz 0.04, kinds url watermark`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_short(part)}" for key, part in value.items() if part not in ("", None, [], {}))
    if isinstance(value, (list, tuple)):
        return ("; " if any(isinstance(part, Mapping) for part in value) else " ").join(map(_short, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def count_changes(step: Step) -> str:
    """Return the number of changed files: `3 files changed, 1 added, 2 removed`."""
    new = sum(c.before is None for c in step.changes)
    gone = sum(c.after is None for c in step.changes)
    changed = len(step.changes) - new - gone
    parts = [(count, what) for count, what in ((changed, "changed"), (new, "added"), (gone, "removed")) if count]
    return ", ".join(f"{count if i else counted(count, 'file')} {what}" for i, (count, what) in enumerate(parts))


def _print_lines(lines: Sequence[tuple[str, Any]]) -> None:
    width = min(48, max((len(path) for path, _ in lines), default=0))
    for path, why in lines[:_SHOWN]:
        echo(f"{path:<{width}}  {why}")
    if len(lines) > _SHOWN:
        echo(f"... and {len(lines) - _SHOWN} more; --json lists all")


def print_import(
    imported: Sequence[ImportedSource],
    folder: Path,
    *,
    messages: MessageCollector,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Print what was imported from each source."""
    if json:
        listed = [
            {"source": t.source, "new": [str(p.path) for p in t.proposals], "step": _step_number(t)} for t in imported
        ]
        print_json({"dataset": folder, "sources": listed} | messages.to_json())
        return
    for one in imported:
        if dry_run:
            _print_lines([(str(p.path), p.why) for p in one.proposals])
        if not one.proposals:
            echo(f"{one.source}: no new files")
        else:
            files = f"step {one.step.number}, {count_changes(one.step)}" if one.step else "nothing was copied"
            echo(f"{one.source}: {counted(len(one.proposals), 'image')}; {files}")
    if any(one.step for one in imported):
        echo(f"undo the last step with: {shell_command('bakehouse', 'dataset', 'undo', folder)}")


def _step_number(taken: ImportedSource) -> int | None:
    return taken.step.number if taken.step else None
