"""Judging a run: figures and pictures beside the untouched base, the pick and the report. No torch here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bakehouse.evaluation.cell_scores import Base, Cell
    from bakehouse.evaluation.evaluate_run import Evaluated, Scored, checkpoints, evaluate
    from bakehouse.evaluation.html_report import write_report
    from bakehouse.evaluation.image_scorers import CrumbJudge, Judge, TransformersJudge, judge_for
    from bakehouse.evaluation.prompt_set import Ask, Asks, make_asks
    from bakehouse.evaluation.result import Report
    from bakehouse.evaluation.selection import Pick, Verdict, choose, judge_run, make_pick
    from bakehouse.evaluation.training_evaluator import TrainingEvaluator

_HOMES = {
    "Ask": "prompt_set",
    "Asks": "prompt_set",
    "Base": "cell_scores",
    "Cell": "cell_scores",
    "CrumbJudge": "image_scorers",
    "Evaluated": "evaluate_run",
    "Judge": "image_scorers",
    "Pick": "selection",
    "Report": "result",
    "Scored": "evaluate_run",
    "TrainingEvaluator": "training_evaluator",
    "TransformersJudge": "image_scorers",
    "Verdict": "selection",
    "checkpoints": "evaluate_run",
    "choose": "selection",
    "evaluate": "evaluate_run",
    "judge_for": "image_scorers",
    "judge_run": "selection",
    "make_asks": "prompt_set",
    "make_pick": "selection",
    "write_report": "html_report",
}

__all__ = [
    "Ask",
    "Asks",
    "Base",
    "Cell",
    "CrumbJudge",
    "Evaluated",
    "Judge",
    "Pick",
    "Report",
    "Scored",
    "TrainingEvaluator",
    "TransformersJudge",
    "Verdict",
    "checkpoints",
    "choose",
    "evaluate",
    "judge_for",
    "judge_run",
    "make_asks",
    "make_pick",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Public names are imported from their homes when they are first used."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"bakehouse.evaluation.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
