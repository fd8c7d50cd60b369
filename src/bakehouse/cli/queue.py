from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import BaseOption, Json, KindOption, QueueFile, Quiet, Settings, Source, Subject
from bakehouse.cli.render.printing import say

queue = typer.Typer(help="Recipes that wait their turn.", no_args_is_help=True)


@queue.command()
def add(
    source: Source,
    subject: Subject = None,
    run: Annotated[Path | None, typer.Option(metavar="DIR", help="Its run folder. Left out: runs/NAME.")] = None,
    kind: KindOption = None,
    base: BaseOption = None,
    settings: Settings = None,
    file: QueueFile = None,
) -> None:
    """Put a recipe at the end, as it is now: changing the file later does not change the job."""
    from bakehouse.cli.load_recipe import read_recipe
    from bakehouse.core.run_folder import run_of
    from bakehouse.queue.job_queue import JobQueue
    from bakehouse.recipe import make_plan, recipe_to_toml

    recipe = read_recipe(source, subject=subject, kind=kind, base=base, settings=settings or ())
    plan = make_plan(recipe := recipe.resolved_from(Path.cwd()))  # what cannot be trained is refused now, not at night
    job = JobQueue(file).add(recipe.title, recipe_to_toml(recipe), run or run_of(source) or Path("runs") / recipe.title)
    say(f"job {job.id}: {job.name}, {plan.steps} steps, into {job.run}")


@queue.command("list")
def list_jobs(file: QueueFile = None, json: Json = False) -> None:
    """List the jobs in the order in which they will run."""
    from bakehouse.cli.render.queue import print_jobs
    from bakehouse.queue.job_queue import JobQueue

    print_jobs(JobQueue(file).jobs(), json=json)


@queue.command("run")
def run_jobs(
    device: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="auto, cpu, mps, cuda:0. May come again: one job on each.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and wait for more when all are done.")] = False,
    file: QueueFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the jobs, one after the other on each device. Stopped or killed, the same command goes on."""
    from bakehouse.cli.render.queue import show_jobs
    from bakehouse.queue.job_queue import JobQueue
    from bakehouse.queue.scheduler import run_jobs as run_all

    show_jobs(run_all(JobQueue(file), tuple(device or ["auto"]), watch=watch), json=json, quiet=quiet)
