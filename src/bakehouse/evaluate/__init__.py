"""Judging a run: figures and pictures beside the untouched base, the pick and the report. No torch here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bakehouse.evaluate.evaluation import Evaluated, Scored, checkpoints, evaluate
    from bakehouse.evaluate.examiner import Examiner
    from bakehouse.evaluate.judge import CrumbJudge, Judge, TransformersJudge, judge_for
    from bakehouse.evaluate.pick import Pick, Verdict, choose, judge_run, make_pick
    from bakehouse.evaluate.prompts import Ask, Asks, make_asks
    from bakehouse.evaluate.report import write_report
    from bakehouse.evaluate.result import Report
    from bakehouse.evaluate.scores import Base, Cell

_HOMES = {
    "Ask": "prompts",
    "Asks": "prompts",
    "Base": "scores",
    "Cell": "scores",
    "CrumbJudge": "judge",
    "Evaluated": "evaluation",
    "Examiner": "examiner",
    "Judge": "judge",
    "Pick": "pick",
    "Report": "result",
    "Scored": "evaluation",
    "TransformersJudge": "judge",
    "Verdict": "pick",
    "checkpoints": "evaluation",
    "choose": "pick",
    "evaluate": "evaluation",
    "judge_for": "judge",
    "judge_run": "pick",
    "make_asks": "prompts",
    "make_pick": "pick",
    "write_report": "report",
}

__all__ = [
    "Ask",
    "Asks",
    "Base",
    "Cell",
    "CrumbJudge",
    "Evaluated",
    "Examiner",
    "Judge",
    "Pick",
    "Report",
    "Scored",
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
        return getattr(importlib.import_module(f"bakehouse.evaluate.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
