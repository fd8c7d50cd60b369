from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.help_panels import OUTPUT
from bakehouse.cli.options import BaseOption, Devices, Json, KindOption, OptionalSource, Quiet, Settings, Subject
from bakehouse.cli.render.safe_printing import echo, shell_command
from bakehouse.cli.slider_options import SliderOptions

if TYPE_CHECKING:
    from bakehouse.core.events import Event
    from bakehouse.recipe import Recipe
    from bakehouse.training.ranks import Ranks


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
    devices: Devices = None,
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
    from bakehouse.core.run_folder import run_of
    from bakehouse.training.ranks import joined_ranks

    given: dict[str, Any] = {"subject": subject, "kind": kind, "base": base, "devices": devices}
    with joined_ranks() as ranks:
        with spinner("reading images", quiet=quiet or json or not ranks.is_main):
            recipe = ranks.everywhere(lambda: read_recipe(source, **given, settings=settings or (), slider=slider))
        if dry_run:
            if ranks.is_main:
                _print_plan(recipe, json=json, quiet=quiet)
            return
        folder = run or (run_of(source) if source else None) or Path("runs") / recipe.title
        _train(recipe, folder, ranks, restore=restore, json=json, quiet=quiet)


def _print_plan(recipe: Recipe, *, json: bool, quiet: bool) -> None:
    from bakehouse.cli.render.plan import print_plan
    from bakehouse.recipe import make_plan

    print_plan(make_plan(recipe), json=json, quiet=quiet)


def _train(recipe: Recipe, folder: Path, ranks: Ranks, *, restore: bool, json: bool, quiet: bool) -> None:
    """Train in this process, as one of several if it was started so; or start several."""
    from bakehouse.cli.render.events import render_events
    from bakehouse.training.interruption import ending_like_ctrl_c

    if recipe.train.devices > 1 and ranks.count == 1:
        from bakehouse.training.launch_ranks import launch_ranks

        if restore:
            render_events(_restore_events(recipe, folder), json=json, quiet=quiet)
        launch_ranks(recipe, folder, [*(["--json"] if json else []), *(["--quiet"] if quiet else [])])
        return
    events = _train_events(recipe, folder, ranks, restore=restore)
    if not ranks.is_main:
        for _ in events:
            pass
        return
    with ending_like_ctrl_c() if ranks.count == 1 else nullcontext():
        render_events(events, json=json, quiet=quiet)
    if json:
        return
    if recipe.kind == "slider":
        echo(f"the slider from end to end: {folder / 'report' / 'slider.png'}")
    echo(f"run folder: {folder}; evaluate with: {shell_command('bakehouse', 'evaluate', folder)}")


def _train_events(recipe: Recipe, folder: Path, ranks: Ranks, *, restore: bool) -> Iterator[Event]:
    """Import the trainer once progress is shown."""
    if restore:
        yield from ranks.main_events(_restore_events(recipe, folder))
    from bakehouse.evaluation import TrainingEvaluator
    from bakehouse.training import train

    yield from train(recipe, folder, evaluator=TrainingEvaluator, ranks=ranks)


def _restore_events(recipe: Recipe, folder: Path) -> Generator[Event, None, None]:
    """Copy the run back from its mirror.

    Raises:
        UsageError: the recipe has no `save.mirror`.
    """
    from bakehouse.core.errors import UsageError
    from bakehouse.core.run_folder import Run
    from bakehouse.training.mirror_restore import restore_from_mirror

    if recipe.save.mirror is None:
        raise UsageError("--restore: the recipe has no save.mirror", hint="pass --set save.mirror=FOLDER-OR-URL")
    yield from restore_from_mirror(recipe.save.mirror, Run(folder))
