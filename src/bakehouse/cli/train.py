from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.help_panels import OUTPUT
from bakehouse.cli.options import BaseOption, Json, KindOption, OptionalSource, Quiet, Settings, Subject
from bakehouse.cli.render.safe_printing import echo, shell_command
from bakehouse.cli.slider_options import SliderOptions

if TYPE_CHECKING:
    from bakehouse.core.events import Event
    from bakehouse.recipe import Recipe


@expand_option_groups
def train(
    source: OptionalSource = None,
    *,
    subject: Subject = None,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run folder. Default: runs/NAME.", rich_help_panel=OUTPUT)
    ] = None,
    kind: KindOption = None,
    base: BaseOption = None,
    slider: SliderOptions,
    settings: Settings = None,
    restore: Annotated[
        bool,
        typer.Option(
            "--restore",
            help="First copy the run back from save.mirror, if the copy holds more of it.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan; do not train.", rich_help_panel=OUTPUT)
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train on a folder of images or a recipe. Run the same command again to resume."""
    from bakehouse.cli.load_recipe import read_recipe
    from bakehouse.cli.render.consoles import spinner
    from bakehouse.cli.render.events import render_events
    from bakehouse.cli.render.plan import print_plan
    from bakehouse.core.run_folder import run_of

    with spinner("reading images", quiet=quiet or json):
        recipe = read_recipe(source, subject=subject, kind=kind, base=base, settings=settings or (), slider=slider)
    if dry_run:
        from bakehouse.recipe import make_plan

        print_plan(make_plan(recipe), json=json, quiet=quiet)
        return
    folder = run or (run_of(source) if source else None) or Path("runs") / recipe.title
    render_events(_train_events(recipe, folder, restore=restore), json=json, quiet=quiet)
    if json:
        return
    if recipe.kind == "slider":
        echo(f"the slider from end to end: {folder / 'report' / 'slider.png'}")
    echo(f"run folder: {folder}; evaluate with: {shell_command('bakehouse', 'evaluate', folder)}")


def _train_events(recipe: Recipe, folder: Path, *, restore: bool) -> Iterator[Event]:
    """Import the trainer once progress is shown.

    Raises:
        UsageError: `--restore` without `save.mirror`.
    """
    if restore:
        from bakehouse.core.errors import UsageError
        from bakehouse.core.run_folder import Run
        from bakehouse.training.mirror_restore import restore_from_mirror

        if recipe.save.mirror is None:
            raise UsageError("--restore: the recipe has no save.mirror", hint="pass --set save.mirror=FOLDER-OR-URL")
        yield from restore_from_mirror(recipe.save.mirror, Run(folder))
    from bakehouse.evaluation import TrainingEvaluator
    from bakehouse.training import train

    yield from train(recipe, folder, evaluator=TrainingEvaluator)
