"""The journal of a dataset's changes: one JSON file per step in `.bakehouse/steps/`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self, get_args

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import read_json, write_text

State = Literal["applying", "done", "undoing", "undone"]
"""`applying` and `undoing` steps are in progress; the next command completes them if their process was killed."""


@dataclass(frozen=True)
class Change:
    """The content of one path before and after a step, as sha256; None means "no file"."""

    path: PurePosixPath
    """Below the folder."""
    before: str | None
    after: str | None
    why: str = ""
    before_mtime: int | None = None
    """Modification time before, in nanoseconds since the epoch; undo restores it."""
    after_mtime: int | None = None
    """Set only where the new content keeps the modification time of the file it was copied from."""

    def inverted(self) -> Change:
        """Return the change that undoes this one."""
        return replace(
            self,
            before=self.after,
            after=self.before,
            before_mtime=self.after_mtime,
            after_mtime=self.before_mtime,
        )


@dataclass(frozen=True)
class Step:
    """The changes that one operation made to a dataset."""

    number: int
    """From 1."""
    operation: str
    settings: Mapping[str, Any]
    state: State
    time: float
    """Seconds since the epoch."""
    changes: tuple[Change, ...] = field(repr=False)

    @property
    def in_progress(self) -> bool:
        """Whether the step was started and not yet completed."""
        return self.state in ("applying", "undoing")

    def old_contents(self) -> set[str]:
        """Return the sha256 of all contents that the step replaced or removed."""
        return {c.before for c in self.changes if c.before}

    def contents_needed_to_undo(self) -> set[str]:
        """Return the sha256 of the contents that undo needs from the store: those that no path holds after the step."""
        return self.old_contents() - {c.after for c in self.changes if c.after}

    def to_json(self) -> dict[str, Any]:
        """Return the step as its JSON file holds it."""
        changes = [
            {"path": str(c.path), "before": c.before, "after": c.after, "why": c.why}
            | {k: v for k in ("before_mtime", "after_mtime") if (v := getattr(c, k)) is not None}
            for c in self.changes
        ]
        head = {"step": self.number, "verb": self.operation, "settings": dict(self.settings), "state": self.state}
        return {**head, "time": self.time, "changes": changes}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the step of a JSON file's content.

        Raises:
            KeyError, TypeError, ValueError: `value` is not a step.
        """
        if value["state"] not in get_args(State):
            raise ValueError(f"state {value['state']!r}")
        changes = tuple(Change(**{**entry, "path": PurePosixPath(entry["path"])}) for entry in value["changes"])
        return cls(int(value["step"]), value["verb"], value["settings"], value["state"], value["time"], changes)


class Journal:
    """The steps of one dataset in `folder`. Each file is read once: the dataset's lock excludes other writers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Path, Step] = {}

    def steps(self) -> tuple[Step, ...]:
        """Return all steps, oldest first.

        Raises:
            BakehouseError: a file of the journal cannot be read.
        """
        found = [self._known.get(path) or self._known.setdefault(path, _read(path)) for path in self._paths()]
        return tuple(sorted(found, key=lambda step: step.number))

    def _paths(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (path for path in self.folder.iterdir() if re.fullmatch(r"[0-9]+-.+\.json", path.name))

    def tidy(self) -> None:
        """Remove partial files that a killed command left."""
        for path in self.folder.glob(".*.part"):
            path.unlink(missing_ok=True)

    def write(self, step: Step) -> Step:
        """Write a step, or its new state, atomically; return it.

        Raises:
            BakehouseError: the disk is full, or the folder is not writable.
        """
        path = self.folder / f"{step.number:04d}-{step.operation}.json"
        write_text(path, _text(step.to_json()))
        self._known[path] = step
        return step


def _text(step: dict[str, Any]) -> str:
    """Return JSON with one line per change, in ASCII: file names need not be valid Unicode."""
    changes = ",\n  ".join(map(json.dumps, step.pop("changes")))
    head = json.dumps(step, indent=1, default=str).removesuffix("\n}")
    return f'{head},\n "changes": [\n  {changes}\n ]\n}}\n'


def _read(path: Path) -> Step:
    try:
        return Step.from_json(read_json(path))
    except (KeyError, TypeError, ValueError) as e:
        hint = "the file is damaged or from a newer bakehouse; the dataset's old files are safe in .bakehouse/files"
        raise BakehouseError(f"cannot read the history file {path}: {type(e).__name__} {e}", hint=hint) from e
