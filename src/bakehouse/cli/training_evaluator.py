"""The evaluator of a run that stops when the subject is learned (`stop.when = "learned"`).

`training` may not import `evaluation`; the command line connects the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bakehouse.core.run_folder import Run
    from bakehouse.evaluation import Examiner
    from bakehouse.recipe import Recipe


def make_evaluator(recipe: Recipe, run: Run) -> Examiner:
    """Return the evaluator; its libraries are imported only here."""
    from bakehouse.evaluation import Examiner

    return Examiner(recipe, run)
