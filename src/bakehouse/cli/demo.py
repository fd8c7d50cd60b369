from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet, Settings
from bakehouse.cli.render.safe_printing import echo


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Output folder.")] = Path("demo"),
    settings: Settings = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run all steps on example images: plan, train, evaluate. Takes some minutes."""
    from bakehouse.cli.example_images import copy_example
    from bakehouse.cli.load_recipe import read_recipe
    from bakehouse.cli.render.evaluation import print_verdict
    from bakehouse.cli.render.events import render_events
    from bakehouse.cli.render.plan import print_plan
    from bakehouse.cli.render.stage_times import StageTimer
    from bakehouse.core.files import write_text
    from bakehouse.core.run_folder import Run
    from bakehouse.recipe import Recipe, make_plan, plan_to_toml

    timer = StageTimer(quiet=quiet or json)
    with timer("plan"):
        photos, subject = copy_example("mira", out)
        written = out / "recipe.toml"
        if not written.is_file():
            plan = make_plan(read_recipe(photos, subject=subject, settings=settings or ()))
            write_text(written, plan_to_toml(plan, beside=out.resolve()))
            if not json:
                print_plan(plan, quiet=True)
        recipe = Recipe.load(written)
    run = Run(out / "run")
    with timer("train"):
        from bakehouse.evaluation import TrainingEvaluator
        from bakehouse.training import train

        render_events(train(recipe, run.folder, evaluator=TrainingEvaluator), json=json, quiet=quiet)
    with timer("evaluate"):
        from bakehouse.evaluation import evaluate

        events = render_events(evaluate(run), json=json, quiet=quiet)
    if not json:
        print_verdict(run, events)
        echo(f"images of every checkpoint: {run.report / 'grid.png'}")
        echo(f"time: {timer}")
