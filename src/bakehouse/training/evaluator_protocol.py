"""Early stopping: the interface of what evaluates a run while it trains. `bakehouse.evaluation` implements it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Protocol

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event
from bakehouse.core.run_folder import Run
from bakehouse.recipe import Recipe
from bakehouse.recipe.sample_prompt import GenerateSamples


class Evaluator(Protocol):
    """Evaluates the weights of a run while it trains."""

    def start(self, generate: GenerateSamples) -> Iterator[Event]:
        """Evaluate the untouched base; called before the first step, and again when the run is resumed."""

    def evaluate(self, weights: Path, number: int, unit: str, generate: GenerateSamples) -> Generator[Event, None, str]:
        """Evaluate the model, saved as `weights` just now; return the reason to end the run, empty to continue.

        `number` counts `unit`s: `epoch` or `step`.
        """


EvaluatorFactory = Callable[[Recipe, Run], Evaluator]
"""Makes the evaluator of a run from its resolved recipe."""


def check_evaluator(recipe: Recipe, evaluator: EvaluatorFactory | None) -> None:
    """Check that a recipe with early stopping has an evaluator.

    Raises:
        UsageError: it has none.
    """
    if recipe.stop.when == "learned" and evaluator is None:
        raise UsageError(
            "stop.when = 'learned' needs an evaluator",
            hint="in Python: train(recipe, folder, evaluator=bakehouse.evaluation.TrainingEvaluator)",
        )
