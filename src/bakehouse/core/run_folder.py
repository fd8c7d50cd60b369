"""The run folder: recipe, plan, events, samples, saved states and weights of one training."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event
from bakehouse.core.files import write_bytes, writing_to
from bakehouse.core.parse_json_toml_yaml import parse_json


@dataclass(frozen=True)
class Run:
    """`recipe.toml · plan.json · inputs.json · events.jsonl · samples/ · checkpoints/ · weights/ · report/`."""

    folder: Path

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Return an existing run.

        Raises:
            UsageError: the folder holds no recipe.toml.
        """
        run = cls(Path(folder))
        if not run.recipe.is_file():
            raise UsageError(
                f"{run.folder} is not a run folder: it holds no recipe.toml",
                hint="name a folder that `bakehouse train` made",
            )
        return run

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.toml"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def inputs(self) -> Path:
        """Records what the training depends on, as it was when the run began; runs of earlier versions have none."""
        return self.folder / "inputs.json"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    @property
    def states(self) -> Path:
        """Saved states, from which training resumes."""
        return self.folder / "checkpoints"

    @property
    def weights(self) -> Path:
        return self.folder / "weights"

    @property
    def report(self) -> Path:
        return self.folder / "report"

    def append(self, event: Event) -> None:
        """Append one line to events.jsonl. An incomplete line before it, left by a killed process, is ended first."""
        with writing_to(self.events), self.events.open("ab+") as f:
            if f.seek(0, os.SEEK_END):
                f.seek(-1, os.SEEK_END)
                if f.read(1) != b"\n":
                    f.write(b"\n")
            f.write(json.dumps(event.to_json()).encode() + b"\n")

    def history(self) -> Iterator[Event]:
        """Yield the events so far; lines that are damaged, incomplete or of an unknown kind are skipped.

        Raises:
            BakehouseError: events.jsonl exists and cannot be read.
        """
        for _, value in self._lines():
            event = Event.from_json(value)
            if event is not None:
                yield event

    def rewind(self, step: int, *, redo: bool = False) -> int:
        """Remove the events after `step`, which a resumed run writes again; with `redo` also those that followed it.

        Damaged lines are removed too; returns how many there were.
        """
        lines = list(self._lines())
        again = ("sampled", "saved") if redo else ()
        kept = [
            line
            for line, value in lines
            if value is not None
            and _step_of(value) <= step
            and not (_step_of(value) == step and value.get("event") in again)
        ]
        write_bytes(self.events, b"".join(kept))
        return sum(value is None for _, value in lines)

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        """Yield each line with its JSON object, or None if it is damaged. An incomplete last line is ignored."""
        if not self.events.is_file():
            return
        try:
            with self.events.open("rb") as f:
                for line in f:
                    if line.endswith(b"\n") and line.strip():
                        yield line, _parsed(line)
        except OSError as e:
            raise BakehouseError(f"cannot read {self.events}: {e.strerror or e}") from e

    def set_aside(self, path: Path) -> Path:
        """Move a damaged file or folder of the run into damaged/, where nothing reads it, and return its new path."""
        folder = self.folder / "damaged"
        numbers = (f"{path.name}{f'-{n}' if n > 1 else ''}" for n in itertools.count(1))
        target = next(folder / name for name in numbers if not (folder / name).exists())
        with writing_to(target):
            folder.mkdir(exist_ok=True)
            return path.rename(target)

    def remove_partial_files(self) -> None:
        """Delete the incomplete files of a killed process: their names end in `.part`."""
        for left in list(self.folder.rglob(".*.part")):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def list_weights(self) -> list[Path]:
        """Return the weights in the order of training: files of adapters, folders of whole models."""
        if not self.weights.is_dir():
            return []
        found = [p for p in self.weights.iterdir() if not p.name.startswith(".")]
        return sorted(p for p in found if p.suffix == ".safetensors" or (p / "model_index.json").is_file())


class EventReader:
    """Reads a run's events.jsonl while another process writes it: each call gives the new events."""

    def __init__(self, run: Run) -> None:
        self._path = run.events
        self._file = (0, 0)
        self._offset = self._line = 0
        self._hashes: list[int] = []
        """Of the lines that were read."""

    def read_new(self) -> Iterator[Event]:
        """Yield the events that were added since the last call; none if there is no file yet.

        A resumed training replaces the file by a shorter one (`Run.rewind`); lines that were read before are skipped.

        Raises:
            BakehouseError: the file is there and cannot be read.
        """
        try:
            with self._path.open("rb") as f:
                found = os.fstat(f.fileno())
                if self._file != (found.st_dev, found.st_ino):
                    self._file, self._offset, self._line = (found.st_dev, found.st_ino), 0, 0
                f.seek(self._offset)
                for line in f:
                    if not line.endswith(b"\n"):
                        break  # the writer is in the middle of it
                    self._offset += len(line)
                    if event := self._new_event(line):
                        yield event
        except FileNotFoundError:
            return
        except OSError as e:
            raise BakehouseError(f"cannot read {self._path}: {e.strerror or e}") from e

    def _new_event(self, line: bytes) -> Event | None:
        value = _parsed(line)
        if value is None:
            return None
        self._line += 1
        if self._hashes[self._line - 1 : self._line] == [hash(line)]:
            return None
        self._hashes[self._line - 1 :] = [hash(line)]
        return Event.from_json(value)


def run_of(source: Path) -> Path | None:
    """Return the run folder that a recipe belongs to; None if it belongs to none."""
    folder = source if source.is_dir() else source.parent
    known = any((folder / name).is_file() for name in ("inputs.json", "plan.json"))
    return folder if (folder / "recipe.toml").is_file() and known else None


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = parse_json(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("event"), str) else None


def _step_of(event: Mapping[str, Any]) -> float:
    """The step of an event; 0 if it has none."""
    step = event.get("step", 0)
    return step if isinstance(step, (int, float)) else 0
