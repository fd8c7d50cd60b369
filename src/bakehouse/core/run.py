"""A run is a folder that holds all there is to know about one training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event
from bakehouse.core.files import write_text, writing_to


@dataclass(frozen=True)
class Run:
    """`recipe.toml · plan.json · events.jsonl · samples/ · checkpoints/ · weights/ · report/`."""

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
    def settled(self) -> Path:
        """What was found out by trying and holds for the whole run; absent where nothing was."""
        return self.folder / "settled.json"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def weights(self) -> Path:
        return self.folder / "weights"

    @property
    def report(self) -> Path:
        return self.folder / "report"

    def append(self, event: Event) -> None:
        """Adds one line to events.jsonl."""
        with writing_to(self.events), self.events.open("a", encoding="utf-8") as f:
            f.write(json.dumps(event.to_json()) + "\n")

    def history(self) -> Iterator[Event]:
        """The events so far. A last line cut off by a kill is passed over."""
        if not self.events.is_file():
            return
        with self.events.open(encoding="utf-8") as f:
            for line in f:
                if line.endswith("\n"):
                    yield Event.from_json(json.loads(line))

    def rewind(self, step: int) -> None:
        """Drops what was noted after `step`: a resumed run writes it again, the same."""
        kept = [e for e in self.history() if getattr(e, "step", 0) <= step]
        write_text(self.events, "".join(json.dumps(e.to_json()) + "\n" for e in kept))

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
