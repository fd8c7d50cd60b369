"""`python -m benchmarks.rates`: does the range test find the learning rate that a sweep finds?

Each of the example subjects is trained at several rates and every training is judged by `evaluate`; then the range test
is made on the same images. The table says how far its rate lies from the sweep's best. Half an hour a subject on two
cores; a sweep that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bakehouse.cli.example import lay_out
from bakehouse.core.events import result_of
from bakehouse.core.run_folder import Run
from bakehouse.data import scan
from bakehouse.evaluation import Cell, evaluate
from bakehouse.evaluation.selection import utility
from bakehouse.recipe import Recipe, make_plan, recipe_for_folder
from bakehouse.training import find_lr, train
from bakehouse.training.lr_finder.chart import lr_chart
from bakehouse.training.lr_finder.suggestion import RangeTestResult

RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)


@dataclass(frozen=True)
class Trained:
    """One training of the sweep as `evaluate` saw it."""

    lr: float
    score: float
    """`evaluation.selection.utility`: points of subject fidelity less what prompt, drift and copies cost."""
    cell: Cell


def recipe_at(lr: float, images: Path, subject: str, steps: int | None) -> Recipe:
    """The plan's own recipe, but for its rates, whose ratio stays, its length if one is given, and what is judged."""
    recipe = recipe_for_folder(images, subject)
    plan = make_plan(recipe, scan(images)).recipe.optimizer
    settings: dict[str, object] = {
        "optimizer.lr": lr,
        "sample.prompts": [],
        "evaluate.weights": [1.0],
        "evaluate.checkpoints": 1,
        "evaluate.images": 24,
    }
    if plan.lr and plan.text_lr:
        settings["optimizer.text_lr"] = lr * plan.text_lr / plan.lr
    if steps:
        settings["train.steps"] = steps
    return recipe.with_values(settings)


def train_at(lr: float, images: Path, subject: str, steps: int | None) -> Trained:
    """Trains and judges, or finds again what was done."""
    run = Run(images.parent / f"{images.name}-{lr:g}")
    for _ in train(recipe_at(lr, images, subject, steps), run.folder):
        pass
    cell = result_of(evaluate(run)).picked
    return Trained(lr, utility(cell), cell)


def sweep(images: Path, subject: str, rates: Sequence[float], steps: int | None) -> list[Trained]:
    """One row a rate, printed as it comes."""
    print("| rate | subject fidelity | prompt kept | drift | score |\n|---|---|---|---|---|", flush=True)
    rows = []
    for lr in rates:
        row = train_at(lr, images, subject, steps)
        c = row.cell
        scores = (100 * c.fidelity.value, 100 * c.prompt_retention, c.drift.points.value, row.score)
        fidelity, retention, drift, score = (f"{value:.0f}" for value in scores)
        print(f"| {lr:g} | {fidelity} | {retention} % | {drift} | {score} |", flush=True)
        rows.append(row)
    return rows


def conclude(name: str, test: RangeTestResult, best: Trained) -> str:
    """One sentence."""
    factor = max(test.peak_lr / best.lr, best.lr / test.peak_lr)
    said = f"{name}: the range test says {test.peak_lr:g}, the sweep's best is {best.lr:g}: a factor of {factor:.2f}"
    return f"{said} ({'within' if factor <= 2 else 'NOT within'} 2). {test.why}"


def main() -> None:
    """Prints a table and a sentence for each subject."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", nargs="+", default=["mira", "tobi"])
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    parser.add_argument("--steps", type=int, help="of each training, instead of the plan's")
    parser.add_argument("--out", type=Path, default=Path("build/rates"), help="where the runs are kept")
    args = parser.parse_args()
    for name in args.subjects:
        images, subject = lay_out(name, args.out.resolve())
        rows = sweep(images, subject, args.rates, args.steps)
        test = result_of(find_lr(recipe_at(args.rates[0], images, subject, args.steps)))
        (args.out / f"{name}.json").write_text(
            json.dumps({**asdict(test), "why": test.why}, indent=1), encoding="utf-8"
        )
        (args.out / f"{name}.svg").write_text(lr_chart(test), encoding="utf-8")
        print("\n" + conclude(name, test, max(rows, key=lambda row: row.score)) + "\n", flush=True)


if __name__ == "__main__":
    main()
