"""A run is a folder that holds all there is to know about one training."""

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
from bakehouse.core.json_toml_yaml import parse_json


@dataclass(frozen=True)
class Run:
    """`recipe.toml · plan.json · inputs.json · events.jsonl · samples/ · checkpoints/ · weights/ · report/`."""

    folder: Path

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """An existing run.

        Raises:
            UsageError: there is no recipe in the folder.
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
        """What decides the training, as it was when the run began; runs of earlier versions have none."""
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
        """Adds one line to events.jsonl; what a kill left of the line before it stays a line of its own."""
        with writing_to(self.events), self.events.open("ab+") as f:
            if f.seek(0, os.SEEK_END):
                f.seek(-1, os.SEEK_END)
                if f.read(1) != b"\n":
                    f.write(b"\n")
            f.write(json.dumps(event.to_json()).encode() + b"\n")

    def history(self) -> Iterator[Event]:
        """The events so far. Lines that are damaged, cut off, or of a kind that is not known here are passed over.

        Raises:
            BakehouseError: events.jsonl is there and cannot be read.
        """
        for _, value in self._lines():
            event = Event.from_json(value)
            if event is not None:
                yield event

    def rewind(self, step: int) -> int:
        """Drops what was noted after `step`: a resumed run writes it again, the same.

        Damaged lines are dropped too; returns how many there were.
        """
        lines = list(self._lines())
        kept = [line for line, value in lines if value is not None and _step_of(value) <= step]
        write_bytes(self.events, b"".join(kept))
        return sum(value is None for _, value in lines)

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        """Each line with the object in it; None where there is none. A last line without its end is not looked at."""
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
        """Moves a damaged file or folder of the run into damaged/, where nothing reads it; returns its new place."""
        folder = self.folder / "damaged"
        numbers = (f"{path.name}{f'-{n}' if n > 1 else ''}" for n in itertools.count(1))
        target = next(folder / name for name in numbers if not (folder / name).exists())
        with writing_to(target):
            folder.mkdir(exist_ok=True)
            return path.rename(target)

    def sweep(self) -> None:
        """Removes what a killed process left half-written; nothing whole ends in `.part`."""
        for left in list(self.folder.rglob(".*.part")):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def list_weights(self) -> list[Path]:
        """Weights in the order they were made: files of adapters, folders of whole models."""
        if not self.weights.is_dir():
            return []
        found = [p for p in self.weights.iterdir() if not p.name.startswith(".")]
        return sorted(p for p in found if p.suffix == ".safetensors" or (p / "model_index.json").is_file())


def run_of(source: Path) -> Path | None:
    """The run folder that a recipe lies in already."""
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
    """The step that an event belongs to; 0 where it belongs to none."""
    step = event.get("step", 0)
    return step if isinstance(step, (int, float)) else 0
