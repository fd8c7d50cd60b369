"""The learning rate of the range test, against the best of a sweep: `python -m benchmarks.lr_range_test_accuracy`.

Each of the example subjects is trained at several rates and every training is scored by `evaluate`; then the range test
runs on the same images. The table shows how far its rate is from the sweep's best. Half an hour a subject on two cores;
an interrupted sweep resumes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bakehouse.cli.example_images import copy_example
from bakehouse.core.events import result_of
from bakehouse.core.run_folder import Run
from bakehouse.data import scan
from bakehouse.evaluation import ScoredCheckpoint, evaluate
from bakehouse.evaluation.selection import utility
from bakehouse.recipe import Recipe, make_plan, recipe_for_folder
from bakehouse.training import find_lr, train
from bakehouse.training.lr_finder.chart import lr_chart
from bakehouse.training.lr_finder.suggestion import RangeTestResult

RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)


@dataclass(frozen=True)
class Trained:
    """One training of the sweep and its score."""

    lr: float
    score: float
    """`evaluation.selection.utility`: points of subject fidelity minus penalties for prompt, drift and copies."""
    cell: ScoredCheckpoint


def recipe_at(lr: float, images: Path, subject: str, steps: int | None) -> Recipe:
    """Return the planned recipe at another learning rate (the text encoder's in proportion), scored on fewer images."""
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
    """Train and evaluate, or load the result of an earlier sweep."""
    run = Run(images.parent / f"{images.name}-{lr:g}")
    for _ in train(recipe_at(lr, images, subject, steps), run.folder):
        pass
    cell = result_of(evaluate(run)).shown
    return Trained(lr, utility(cell), cell)


def sweep(images: Path, subject: str, rates: Sequence[float], steps: int | None) -> list[Trained]:
    """Train at each rate and print its row."""
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
    """Return one sentence that compares the range test with the sweep."""
    factor = max(test.peak_lr / best.lr, best.lr / test.peak_lr)
    summary = f"{name}: the range test says {test.peak_lr:g}, the sweep's best is {best.lr:g}: a factor of {factor:.2f}"
    return f"{summary} ({'within' if factor <= 2 else 'NOT within'} 2). {test.why}"


def main() -> None:
    """Print a table and a sentence for each subject."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", nargs="+", default=["mira", "tobi"])
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    parser.add_argument("--steps", type=int, help="steps of each training; default: the plan's")
    parser.add_argument("--out", type=Path, default=Path("build/rates"), help="folder of the runs")
    args = parser.parse_args()
    for name in args.subjects:
        images, subject = copy_example(name, args.out.resolve())
        rows = sweep(images, subject, args.rates, args.steps)
        test = result_of(find_lr(recipe_at(args.rates[0], images, subject, args.steps)))
        (args.out / f"{name}.json").write_text(
            json.dumps({**asdict(test), "why": test.why}, indent=1), encoding="utf-8"
        )
        (args.out / f"{name}.svg").write_text(lr_chart(test), encoding="utf-8")
        print("\n" + conclude(name, test, max(rows, key=lambda row: row.score)) + "\n", flush=True)


if __name__ == "__main__":
    main()
