from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bakehouse.cli.options import BaseOption, Json, KindOption, Quiet, Settings, Source, Subject
from bakehouse.cli.render.printing import say

if TYPE_CHECKING:
    from bakehouse.core.events import Event
    from bakehouse.recipe import Recipe


def train(
    source: Source,
    subject: Subject = None,
    run: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the run lives. Left out: runs/NAME.")] = None,
    kind: KindOption = None,
    base: BaseOption = None,
    settings: Settings = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bake: train on a folder of images. The same command again goes on where it stopped."""
    from bakehouse.cli.load_recipe import read_recipe
    from bakehouse.cli.render.consoles import busy
    from bakehouse.cli.render.events import show
    from bakehouse.cli.render.plan import print_plan
    from bakehouse.core.run_folder import run_of

    with busy("reading images", quiet=quiet or json):
        recipe = read_recipe(source, subject=subject, kind=kind, base=base, settings=settings or ())
    if dry_run:
        from bakehouse.recipe import make_plan

        print_plan(make_plan(recipe), json=json, quiet=quiet)
        return
    folder = run or run_of(source) or Path("runs") / recipe.title
    show(_events(recipe, folder), json=json, quiet=quiet)
    if not json:
        say(f"{folder}: judge it with: bakehouse evaluate {folder}")


def _events(recipe: Recipe, folder: Path) -> Iterator[Event]:
    """Train; the networks are imported when the first event is asked for."""
    from bakehouse.evaluation import TrainingEvaluator
    from bakehouse.training import train

    yield from train(recipe, folder, evaluator=TrainingEvaluator)
