from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet, Settings
from bakehouse.cli.render.printing import say


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where everything goes.")] = Path("demo"),
    settings: Settings = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach crumb a new face from example images and judge it: the whole line, in minutes."""
    from bakehouse.cli.example import lay_out
    from bakehouse.cli.load_recipe import read_recipe
    from bakehouse.cli.render.evaluation import print_verdict
    from bakehouse.cli.render.events import show
    from bakehouse.cli.render.plan import print_plan
    from bakehouse.cli.render.stage_times import Clock
    from bakehouse.core.files import write_text
    from bakehouse.core.run_folder import Run
    from bakehouse.recipe import Recipe, make_plan, to_toml

    clock = Clock(quiet=quiet or json)
    with clock("plan"):
        photos, subject = lay_out("mira", out)
        written = out / "recipe.toml"
        if not written.is_file():
            plan = make_plan(read_recipe(photos, subject=subject, settings=settings or ()))
            write_text(written, to_toml(plan, beside=out.resolve()))
            if not json:
                print_plan(plan, quiet=True)
        recipe = Recipe.load(written)
    run = Run(out / "run")
    with clock("train"):
        from bakehouse.evaluation import TrainingEvaluator
        from bakehouse.training import train

        show(train(recipe, run.folder, evaluator=TrainingEvaluator), json=json, quiet=quiet)
    with clock("evaluate"):
        from bakehouse.evaluation import evaluate

        events = show(evaluate(run), json=json, quiet=quiet)
    if not json:
        print_verdict(run, events)
        say(f"pictures of every checkpoint: {run.report / 'grid.png'}")
        say(f"time: {clock}")
