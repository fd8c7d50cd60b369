"""The result of an evaluation (`Report`): `scores.json` as a dataclass. `weights/result.py` is of file tools."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.core.files import read_json
from bakehouse.core.run_folder import Run
from bakehouse.evaluation.checkpoint_scores import BaseScores, ScoredCheckpoint
from bakehouse.evaluation.image_cache import GenerationSettings
from bakehouse.evaluation.image_checks import ReportedMark
from bakehouse.evaluation.prompt_set import EvalPrompts
from bakehouse.evaluation.selection import Pick, Verdict, judged
from bakehouse.evaluation.trigger_groups import TriggerScores
from bakehouse.recipe.recipe import ConceptSpec, EvaluateSpec, Recipe

VERSION = 2


@dataclass(frozen=True)
class Report:
    """The result of an evaluation, as saved in `scores.json`."""

    folder: Path
    """The run's report folder."""
    title: str
    concept: ConceptSpec
    scorer: str
    """Name of the image scorer."""
    measures: str
    """How the scorer compares the subject, in words."""
    base_model: str
    spec: EvaluateSpec
    settings: GenerationSettings
    description: str
    """The subject in words, as in the prompts of the untouched base."""
    subject_attributes: Mapping[str, str]
    held_out: bool
    references: tuple[Path, ...]
    base: BaseScores
    cells: tuple[ScoredCheckpoint, ...]
    prompts: EvalPrompts
    marks: tuple[ReportedMark, ...]
    """The subject's own marks, with crops from the cell that the report shows."""
    pick: Pick
    verdict: Verdict
    notes: tuple[str, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    """Paths of the generated images relative to `folder`, by `image_key`."""
    words: TriggerScores | None = None
    """Scores of each trigger of outfits or of a pack; None for other kinds."""

    @property
    def html_path(self) -> Path:
        return self.folder / "report.html"

    @property
    def grid_path(self) -> Path:
        return self.folder / "grid.png"

    @property
    def picked(self) -> ScoredCheckpoint | None:
        """The cell that was picked; None if none was."""
        return self.cell(self.pick.weights, self.pick.strength)

    def cell(self, weights: str, strength: float) -> ScoredCheckpoint | None:
        """Return the figures of weights, by their path in the run, at a strength; None if they were not evaluated."""
        return next((c for c in self.cells if (c.weights, c.strength) == (weights, strength)), None)

    @property
    def shown(self) -> ScoredCheckpoint:
        """The cell whose images and figures the report shows: the pick, or the one that the verdict speaks of."""
        return self.picked or judged(self.cells)

    def image_path(self, cell: ScoredCheckpoint | None, series: str, number: int) -> Path | None:
        """Return the path of the i-th image of a series at a cell (None: the base); None if it was not generated."""
        found = self.images.get(image_key(cell, series, number))
        return self.folder / found if found else None

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "title": self.title,
            "concept": self.concept.model_dump(mode="json"),
            "judge": self.scorer,
            "measures": self.measures,
            "base_model": self.base_model,
            "spec": self.spec.model_dump(mode="json"),
            "look": vars(self.settings),
            "description": self.description,
            "subject_attributes": dict(self.subject_attributes),
            "held_out": self.held_out,
            "references": [str(p) for p in self.references],
            "pick": self.pick.to_json(),
            "verdict": self.verdict.to_json(),
            "notes": list(self.notes),
            "base": self.base.to_json(),
            "cells": [c.to_json() for c in self.cells],
            "asks": self.prompts.to_json(),
            "marks": [mark.to_json() for mark in self.marks],
            "pictures": dict(self.images),
            **({"words": self.words.to_json()} if self.words else {}),
        }

    @classmethod
    def find(cls, run: Run, recipe: Recipe) -> Report | None:
        """Load the result of a run's last evaluation; None if there is none, or it is a slider's, which is another.

        Raises:
            UsageError: the run was evaluated by another version.
        """
        return cls.load(run) if recipe.kind != "slider" and (run.report / "scores.json").is_file() else None

    @classmethod
    def load(cls, run: Run) -> Report:
        """Load the result of a run's last evaluation.

        Raises:
            UsageError: the run was not evaluated yet, or by another version.
        """
        path = run.report / "scores.json"
        command = f"bakehouse evaluate {shlex.quote(str(run.folder))}"
        if not path.is_file():
            raise UsageError(f"{run.folder} was not evaluated yet", hint=f"run `{command}`")
        value = read_json(path)
        if value.get("version") != VERSION:
            raise UsageError(
                f"{path} was written by another version of bakehouse",
                hint=f"run `{command}` to write it again",
            )
        same = ("title", "measures", "base_model", "held_out", "subject_attributes", "description")
        return cls(
            folder=run.report,
            concept=ConceptSpec.parse(value["concept"]),
            scorer=value["judge"],
            spec=EvaluateSpec.parse(value["spec"]),
            settings=GenerationSettings(**value["look"]),
            references=tuple(Path(p) for p in value["references"]),
            base=BaseScores.from_json(value["base"]),
            cells=tuple(ScoredCheckpoint.from_json(c) for c in value["cells"]),
            prompts=EvalPrompts.from_json(value["asks"]),
            marks=tuple(ReportedMark.from_json(mark) for mark in value["marks"]),
            pick=Pick.from_json(value["pick"]),
            verdict=Verdict.from_json(value["verdict"]),
            notes=tuple(value["notes"]),
            images=value["pictures"],
            words=TriggerScores.from_json(value["words"]) if value.get("words") else None,
            **{name: value[name] for name in same},
        )


def image_key(cell: ScoredCheckpoint | None, series: str, number: int) -> str:
    """Return the key of an image in `Report.images`."""
    return f"{f'{cell.weights}@{cell.strength:g}' if cell else 'base'}/{series}/{number}"
