"""Who says that a run has learned enough. Training only knows this face: the judges live in a room above it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event
from bakehouse.core.run_folder import Run
from bakehouse.recipe import Recipe
from bakehouse.recipe.sample_prompt import SamplePrompt


class Draw(Protocol):
    """One picture for each, in order, with the model as it stands in training, or with `base` as it was before."""

    def __call__(self, wanted: Sequence[SamplePrompt], *, base: bool = False) -> Iterator[Image.Image]: ...


class Examiner(Protocol):
    """Judges the weights of a run while it trains."""

    def begin(self, draw: Draw) -> Iterator[Event]:
        """Looks at the untouched base; called before the first step, and again where a run goes on."""

    def examine(self, weights: Path, number: int, unit: str, draw: Draw) -> Generator[Event, None, str]:
        """Judges the model, saved as `weights` just now, and says why the run should end; nothing: it should go on.

        `number` counts `unit`s: `epoch` or `step`.
        """


NewExaminer = Callable[[Recipe, Run], Examiner]
"""Makes the examiner of a run from its settled recipe."""


def check_examiner(recipe: Recipe, examiner: NewExaminer | None) -> None:
    """Refuses a recipe that wants to be judged where there is nobody to do it.

    Raises:
        UsageError: that is so.
    """
    if recipe.stop.when == "learned" and examiner is None:
        raise UsageError(
            "stop.when = 'learned' needs somebody to judge the run",
            hint="in Python: bake(recipe, folder, examiner=bakehouse.evaluation.Examiner)",
        )
