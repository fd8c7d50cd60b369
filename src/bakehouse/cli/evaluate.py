from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet, RunFolder


def evaluate(
    run: RunFolder,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set a key of the recipe's [evaluate], e.g. images=8. Repeatable."
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="Device: auto, cpu, mps, cuda or cuda:1.")] = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a run; pick the best checkpoint and strength.

    The scores compare it with its base model on the same prompts and seeds.
    """
    from bakehouse.cli.render.evaluation import print_slider, print_verdict
    from bakehouse.cli.render.events import render_events
    from bakehouse.core.run_folder import Run
    from bakehouse.core.settings import parse_setting
    from bakehouse.evaluation import evaluate as evaluate_run
    from bakehouse.evaluation import evaluate_slider
    from bakehouse.recipe import Recipe

    opened = Run.open(run)
    changes = dict(parse_setting(s) for s in settings or ())
    recipe = Recipe.load(opened.recipe)
    if recipe.kind == "slider":
        events = render_events(evaluate_slider(opened, recipe), json=json, quiet=quiet)
        if not json:
            print_slider(events)
        return
    events = render_events(evaluate_run(opened, changes=changes, device=device), json=json, quiet=quiet)
    if not json:
        print_verdict(opened, events)
