"""Shows the queue."""

from __future__ import annotations

import contextlib
import dataclasses
import json as json_module
import time
from collections.abc import Iterable, Sequence

from rich.table import Table

from bakehouse.cli.render.consoles import notes, print_json, print_table
from bakehouse.cli.render.printing import say
from bakehouse.cli.render.units import duration
from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event, Started, Step, Warned
from bakehouse.core.run_folder import Run
from bakehouse.queue.job_queue import Job
from bakehouse.queue.scheduler import JobChanged


def progress_of(job: Job) -> tuple[int, int]:
    """Steps done and to do, from the run's own events; zeros before it has begun, or where nobody may read them."""
    done = total = 0
    with contextlib.suppress(BakehouseError):
        for event in Run(job.run).history():
            if isinstance(event, Started):
                done, total = event.step, event.steps
            elif isinstance(event, Step):
                done = event.step
    return done, total


def print_jobs(jobs: Sequence[Job], *, json: bool = False) -> None:
    """A table, or all there is to know as JSON."""
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
        notes().print("the queue is empty: bakehouse queue add RECIPE")
        return
    table = Table("job", "name", "state", "steps", "time", "device", "run", box=None, pad_edge=False)
    for job, done, total in rows:
        spent = duration((job.ended or time.time()) - job.started) if job.started else ""
        state = "stopping" if job.halt else job.state
        table.add_row(str(job.id), job.name, state, f"{done}/{total}" if total else "", spent, job.device, str(job.run))
    print_table(table)
    for job in jobs:
        if job.error:
            notes().print(f"job {job.id}: {job.error}", soft_wrap=True, style="yellow")


def show_jobs(work: Iterable[Event], *, json: bool = False, quiet: bool = False) -> None:
    """Says what becomes of each job while the queue is worked off."""
    console = notes()
    for event in work:
        if json:
            say(json_module.dumps(event.to_json()), flush=True)
        elif isinstance(event, Warned) or (isinstance(event, JobChanged) and not (quiet and event.state == "running")):
            console.print(_line(event), soft_wrap=True)


def _line(event: Event) -> str:
    if isinstance(event, JobChanged):
        where = f" on {event.device}" if event.state == "running" else f": {event.run}"
        why = f"\n{event.error}" if event.error else ""
        return f"job {event.job} ({event.name}) is {event.state}{where}{why}"
    return f"warning: {event.message}" if isinstance(event, Warned) else ""
