"""Output of `bakehouse queue`: the jobs, and events of running them."""

from __future__ import annotations

import contextlib
import dataclasses
import json as json_module
import time
from collections.abc import Iterable, Sequence

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, stderr_console
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event, Started, Step, Warned
from bakehouse.core.run_folder import Run
from bakehouse.core.units import duration
from bakehouse.queue.job_queue import Job
from bakehouse.queue.scheduler import JobChanged


def progress_of(job: Job) -> tuple[int, int]:
    """Return finished and total steps from the run's events; zeros if it has not started or is not readable."""
    done = total = 0
    with contextlib.suppress(BakehouseError):
        for event in Run(job.run).history():
            if isinstance(event, Started):
                done, total = event.step, event.steps
            elif isinstance(event, Step):
                done = event.step
    return done, total


def print_jobs(jobs: Sequence[Job], *, json: bool = False) -> None:
    """Print the jobs as a table, or as JSON."""
    rows = [(job, *progress_of(job)) for job in jobs]
    if json:
        print_json(
            [
                {k: v for k, v in dataclasses.asdict(job).items() if k not in ("recipe", "recipe_sha256")}
                | {"step": done, "steps": total}
                for job, done, total in rows
            ]
        )
        return
    if not rows:
        stderr_console().print("the queue is empty; add a recipe with: bakehouse queue add RECIPE")
        return
    table = Table("job", "name", "state", "steps", "time", "device", "run", box=None, pad_edge=False)
    for job, done, total in rows:
        spent = duration((job.ended or time.time()) - job.started) if job.started else ""
        state = "stopping" if job.halt else job.state
        table.add_row(str(job.id), job.name, state, f"{done}/{total}" if total else "", spent, job.device, str(job.run))
    print_table(table)
    for job in jobs:
        if job.error:
            stderr_console().print(f"job {job.id}: {job.error}", soft_wrap=True, style="yellow")


def render_job_events(events: Iterable[Event], *, json: bool = False, quiet: bool = False) -> None:
    """Print each change of state while jobs run."""
    console = stderr_console()
    for event in events:
        if json:
            echo(json_module.dumps(event.to_json()), flush=True)
        elif isinstance(event, Warned) or (isinstance(event, JobChanged) and not (quiet and event.state == "running")):
            console.print(_line(event), soft_wrap=True)


def _line(event: Event) -> str:
    if isinstance(event, JobChanged):
        where = f" on {event.device}" if event.state == "running" else f": {event.run}"
        why = f"\n{event.error}" if event.error else ""
        return f"job {event.job} ({event.name}) is {event.state}{where}{why}"
    return f"warning: {event.message}" if isinstance(event, Warned) else ""
