"""What an evaluation found: `scores.json` as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.core.files import read_json
from bakehouse.core.run_folder import Run
from bakehouse.evaluation.cell_scores import Base, Cell
from bakehouse.evaluation.image_cache import Look
from bakehouse.evaluation.prompt_set import Ask, Asks
from bakehouse.evaluation.selection import Pick, Verdict
from bakehouse.recipe.recipe import ConceptSpec, EvaluateSpec

VERSION = 1


@dataclass(frozen=True)
class Report:
    """All that an evaluation found; `scores.json` holds it."""

    folder: Path
    """The run's report folder."""
    title: str
    concept: ConceptSpec
    judge: str
    measures: str
    base_model: str
    spec: EvaluateSpec
    look: Look
    own: Mapping[str, str]
    """The subject's attributes."""
    held_out: bool
    references: tuple[Path, ...]
    base: Base
    cells: tuple[Cell, ...]
    asks: Asks
    pick: Pick
    verdict: Verdict
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Where pictures lie below `folder`, by cell and ask: see `picture`."""

    @property
    def html(self) -> Path:
        return self.folder / "report.html"

    @property
    def grid(self) -> Path:
        return self.folder / "grid.png"

    @property
    def picked(self) -> Cell:
        """The cell that was picked."""
        return next(c for c in self.cells if (c.weights, c.weight) == (self.pick.weights, self.pick.weight))

    def picture(self, cell: Cell | None, series: str, number: int) -> Path | None:
        """The i-th picture of a series at a cell (None: the base's), where it was made."""
        found = self.pictures.get(picture_name(cell, series, number))
        return self.folder / found if found else None

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "title": self.title,
            "concept": self.concept.model_dump(mode="json"),
            "judge": self.judge,
            "measures": self.measures,
            "base_model": self.base_model,
            "spec": self.spec.model_dump(mode="json"),
            "look": vars(self.look),
            "subject_attributes": dict(self.own),
            "held_out": self.held_out,
            "references": [str(p) for p in self.references],
            "pick": self.pick.to_json(),
            "verdict": self.verdict.to_json(),
            "notes": list(self.notes),
            "base": self.base.to_json(),
            "cells": [c.to_json() for c in self.cells],
            "asks": {name: [vars(a) for a in asks] for name, asks in vars(self.asks).items()},
            "pictures": dict(self.pictures),
        }

    @classmethod
    def load(cls, run: Run) -> Report:
        """What the last evaluation of a run found.

        Raises:
            UsageError: it was not evaluated yet, or by another version.
        """
        path = run.report / "scores.json"
        if not path.is_file():
            raise UsageError(f"{run.folder} was not evaluated yet", hint=f"`bakehouse evaluate {run.folder}` does it")
        value = read_json(path)
        if value.get("version") != VERSION:
            raise UsageError(f"{path} is of another version", hint=f"`bakehouse evaluate {run.folder}` writes it again")
        asks = Asks(**{name: tuple(Ask(**a) for a in value["asks"][name]) for name in ("subject", "klass", "other")})
        plain = ("title", "judge", "measures", "base_model", "held_out")
        return cls(
            folder=run.report,
            concept=ConceptSpec.parse(value["concept"]),
            spec=EvaluateSpec.parse(value["spec"]),
            look=Look(**value["look"]),
            own=value["subject_attributes"],
            references=tuple(Path(p) for p in value["references"]),
            base=Base.from_json(value["base"]),
            cells=tuple(Cell.from_json(c) for c in value["cells"]),
            asks=asks,
            pick=Pick.from_json(value["pick"]),
            verdict=Verdict(**value["verdict"]),
            notes=tuple(value["notes"]),
            pictures=value["pictures"],
            **{name: value[name] for name in plain},
        )


def picture_name(cell: Cell | None, series: str, number: int) -> str:
    """The key of `Report.pictures`."""
    return f"{f'{cell.weights}@{cell.weight:g}' if cell else 'base'}/{series}/{number}"
