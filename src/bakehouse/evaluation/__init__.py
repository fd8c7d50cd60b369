"""Evaluation of a run: scores against the untouched base, selection of a checkpoint, and the report. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bakehouse.core.lazy_names import lazy_names

if TYPE_CHECKING:
    from bakehouse.evaluation.checkpoint_scores import BaseScores, ScoredCheckpoint
    from bakehouse.evaluation.evaluate_run import evaluate
    from bakehouse.evaluation.evaluation_events import Asked, Evaluated, Scored
    from bakehouse.evaluation.evaluation_inputs import checkpoints
    from bakehouse.evaluation.html_report import write_report
    from bakehouse.evaluation.image_scorers import CrumbScorer, ImageScorer, TransformersScorer, scorer_for
    from bakehouse.evaluation.prompt_set import EvalPrompt, EvalPrompts, make_prompts
    from bakehouse.evaluation.result import Report
    from bakehouse.evaluation.selection import Pick, Verdict, choose, make_pick, make_verdict
    from bakehouse.evaluation.slider_scores import SliderScored, evaluate_slider
    from bakehouse.evaluation.training_evaluator import TrainingEvaluator

_HOMES = {
    "BaseScores": "checkpoint_scores",
    "ScoredCheckpoint": "checkpoint_scores",
    "CrumbScorer": "image_scorers",
    "EvalPrompt": "prompt_set",
    "EvalPrompts": "prompt_set",
    "Asked": "evaluation_events",
    "Evaluated": "evaluation_events",
    "ImageScorer": "image_scorers",
    "Pick": "selection",
    "Report": "result",
    "Scored": "evaluation_events",
    "SliderScored": "slider_scores",
    "TrainingEvaluator": "training_evaluator",
    "TransformersScorer": "image_scorers",
    "Verdict": "selection",
    "checkpoints": "evaluation_inputs",
    "choose": "selection",
    "evaluate": "evaluate_run",
    "evaluate_slider": "slider_scores",
    "make_pick": "selection",
    "make_prompts": "prompt_set",
    "make_verdict": "selection",
    "scorer_for": "image_scorers",
    "write_report": "html_report",
}

__all__ = [
    "Asked",
    "BaseScores",
    "CrumbScorer",
    "EvalPrompt",
    "EvalPrompts",
    "Evaluated",
    "ImageScorer",
    "Pick",
    "Report",
    "Scored",
    "ScoredCheckpoint",
    "SliderScored",
    "TrainingEvaluator",
    "TransformersScorer",
    "Verdict",
    "checkpoints",
    "choose",
    "evaluate",
    "evaluate_slider",
    "make_pick",
    "make_prompts",
    "make_verdict",
    "scorer_for",
    "write_report",
]

__getattr__ = lazy_names(__name__, _HOMES)
