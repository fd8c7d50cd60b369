"""What was done to a dataset, step by step: one JSON file for each in `.bakehouse/steps/`."""

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
"""`applying` and `undoing` are on their way: whoever was killed in between left the rest to the next command."""


@dataclass(frozen=True)
class Change:
    """What becomes of one path. Contents are named by the sha256 of their bytes; None is "no file"."""

    path: PurePosixPath
    """Below the folder."""
    before: str | None
    after: str | None
    why: str = ""
    before_mtime: int | None = None
    """Of the file before, in nanoseconds since the epoch: taken back, a file is as old as it was."""
    after_mtime: int | None = None
    """Given only where the content comes from elsewhere, and keeps its age."""

    def backwards(self) -> Change:
        """The change that takes this one back."""
        return replace(
            self,
            before=self.after,
            after=self.before,
            before_mtime=self.after_mtime,
            after_mtime=self.before_mtime,
        )


@dataclass(frozen=True)
class Step:
    """One verb's work on a dataset."""

    number: int
    """From 1."""
    verb: str
    settings: Mapping[str, Any]
    state: State
    time: float
    """Seconds since the epoch."""
    changes: tuple[Change, ...] = field(repr=False)

    @property
    def under_way(self) -> bool:
        """Begun, and not yet at an end."""
        return self.state in ("applying", "undoing")

    def befores(self) -> set[str]:
        """The contents that paths held before it."""
        return {c.before for c in self.changes if c.before}

    def needs(self) -> set[str]:
        """The contents that taking this step back asks of the store: those that no path holds after it."""
        return self.befores() - {c.after for c in self.changes if c.after}

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        changes = [
            {"path": str(c.path), "before": c.before, "after": c.after, "why": c.why}
            | {k: v for k in ("before_mtime", "after_mtime") if (v := getattr(c, k)) is not None}
            for c in self.changes
        ]
        head = {"step": self.number, "verb": self.verb, "settings": dict(self.settings), "state": self.state}
        return {**head, "time": self.time, "changes": changes}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        if value["state"] not in get_args(State):
            raise ValueError(f"state {value['state']!r}")
        changes = tuple(Change(**{**entry, "path": PurePosixPath(entry["path"])}) for entry in value["changes"])
        return cls(int(value["step"]), value["verb"], value["settings"], value["state"], value["time"], changes)


class Journal:
    """The steps of one dataset, in `folder`. Each file is read once: whoever changes a dataset does it alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Path, Step] = {}

    def steps(self) -> tuple[Step, ...]:
        """All of them, the first one first.

        Raises:
            BakehouseError: a file of the journal cannot be understood.
        """
        found = [self._known.get(path) or self._known.setdefault(path, _read(path)) for path in self._paths()]
        return tuple(sorted(found, key=lambda step: step.number))

    def _paths(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (path for path in self.folder.iterdir() if re.fullmatch(r"[0-9]+-.+\.json", path.name))

    def tidy(self) -> None:
        """Removes what a command that was killed while writing left beside the journal's files."""
        for path in self.folder.glob(".*.part"):
            path.unlink(missing_ok=True)

    def write(self, step: Step) -> Step:
        """Puts a step, or its new state, on the disk: whole or not at all.

        Raises:
            BakehouseError: the disk is full, or the folder cannot be written.
        """
        path = self.folder / f"{step.number:04d}-{step.verb}.json"
        write_text(path, _text(step.to_json()))
        self._known[path] = step
        return step


def _text(step: dict[str, Any]) -> str:
    """JSON with a line for each change: they are many. Escaped, since names of files need not be valid Unicode."""
    changes = ",\n  ".join(map(json.dumps, step.pop("changes")))
    head = json.dumps(step, indent=1, default=str).removesuffix("\n}")
    return f'{head},\n "changes": [\n  {changes}\n ]\n}}\n'


def _read(path: Path) -> Step:
    try:
        return Step.from_json(read_json(path))
    except (KeyError, TypeError, ValueError) as e:
        hint = "it was damaged, or written by a newer bakehouse; contents are safe in .bakehouse/files"
        raise BakehouseError(f"cannot understand {path}: {type(e).__name__} {e}", hint=hint) from e
