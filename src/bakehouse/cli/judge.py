"""Who judges a run while it trains: the command line is where training and judging meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bakehouse.core.run_folder import Run
    from bakehouse.evaluation import TrainingEvaluator
    from bakehouse.recipe import Recipe


def examiner(recipe: Recipe, run: Run) -> TrainingEvaluator:
    """For `bake`; loads what judges when it is called."""
    from bakehouse.evaluation import TrainingEvaluator

    return TrainingEvaluator(recipe, run)
