"""`bakehouse queue`: recipes that wait for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.options import BaseOption, Job, Json, KindOption, QueueFile, Quiet, Settings, Source, Subject
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.message_text import counted

queue = typer.Typer(help="Train many recipes, one after the other.", no_args_is_help=True)


@queue.command()
def add(
    source: Source,
    subject: Subject = None,
    run: Annotated[Path | None, typer.Option(metavar="DIR", help="Run folder. Default: runs/NAME.")] = None,
    kind: KindOption = None,
    base: BaseOption = None,
    settings: Settings = None,
    file: QueueFile = None,
) -> None:
    """Add a copy of a recipe to the queue. Later changes of its file have no effect."""
    from bakehouse.cli.load_recipe import read_recipe
    from bakehouse.core.run_folder import run_of
    from bakehouse.queue.job_queue import JobQueue
    from bakehouse.recipe import make_plan, recipe_to_toml

    recipe = read_recipe(source, subject=subject, kind=kind, base=base, settings=settings or ())
    plan = make_plan(recipe := recipe.resolved_from(Path.cwd()))  # refuses now what training would refuse later
    job = JobQueue(file).add(recipe.title, recipe_to_toml(recipe), run or run_of(source) or Path("runs") / recipe.title)
    echo(f"added job {job.id} ({job.name}): {counted(plan.steps, 'step')}, run folder {job.run}")


@queue.command("list")
def list_jobs(file: QueueFile = None, json: Json = False) -> None:
    """List the jobs in the order in which they run."""
    from bakehouse.cli.render.queue import print_jobs
    from bakehouse.queue.job_queue import JobQueue

    print_jobs(JobQueue(file).jobs(), json=json)


@queue.command("run")
def run_jobs(
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Device: auto, cpu, mps or cuda:0. Repeatable: one job on each."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Wait for more jobs when all are finished.")] = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(envvar="BAKEHOUSE_ENGINE", help="Where jobs run: on this machine, or in a Ray cluster."),
    ] = "local",
    file: QueueFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the jobs, one at a time on each device. Run it again to resume."""
    from bakehouse.cli.render.queue import render_job_events
    from bakehouse.queue.executor import make_executor
    from bakehouse.queue.job_queue import JobQueue
    from bakehouse.queue.scheduler import run_jobs as run_all

    events = run_all(JobQueue(file), tuple(device or ["auto"]), executor=make_executor(engine), watch=watch)
    render_job_events(events, json=json, quiet=quiet)


@queue.command()
def stop(job: Job, file: QueueFile = None) -> None:
    """Stop a running job, or hold a waiting one. `resume` continues it."""
    from bakehouse.queue.job_queue import JobQueue

    found = JobQueue(file).stop(job)
    state = "stopping" if found.state == "running" else "stopped"
    echo(f"job {found.id} ({found.name}): {state}; resume it with: bakehouse queue resume {found.id}")


@queue.command()
def resume(job: Job, file: QueueFile = None) -> None:
    """Queue a stopped or failed job again. It resumes from its last state."""
    from bakehouse.queue.job_queue import JobQueue

    found = JobQueue(file).resume(job)
    echo(f"job {found.id} ({found.name}) is {found.state}")


@queue.command()
def move(
    job: Job,
    place: Annotated[int, typer.Argument(metavar="PLACE", help="Position among the waiting jobs; 1 is next.")],
    file: QueueFile = None,
) -> None:
    """Move a waiting job to another position."""
    from bakehouse.queue.job_queue import JobQueue

    found = JobQueue(file).move(job, place)
    echo(f"job {found.id} ({found.name}) is at position {place}")


@queue.command()
def remove(job: Job, file: QueueFile = None) -> None:
    """Remove a job that is not running. Its run folder stays."""
    from bakehouse.queue.job_queue import JobQueue

    JobQueue(file).remove(job)
    echo(f"removed job {job} from the queue")
