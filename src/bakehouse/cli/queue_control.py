"""The queue's commands that change one job."""

from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Job, QueueFile
from bakehouse.cli.queue import queue as queue
from bakehouse.cli.render.printing import say


@queue.command()
def stop(job: Job, file: QueueFile = None) -> None:
    """Stop a running job, or hold a waiting one back. What it has learned stays; `resume` goes on."""
    from bakehouse.queue.job_queue import JobQueue

    found = JobQueue(file).stop(job)
    say(f"job {found.id} ({found.name}) " + ("is asked to stop" if found.state == "running" else "is held back"))


@queue.command()
def resume(job: Job, file: QueueFile = None) -> None:
    """Let a stopped or failed job wait again: it goes on where it was."""
    from bakehouse.queue.job_queue import JobQueue

    found = JobQueue(file).resume(job)
    say(f"job {found.id} ({found.name}) is {found.state}")


@queue.command()
def move(
    job: Job,
    place: Annotated[int, typer.Argument(metavar="PLACE", help="Among those that wait; 1 is next.")],
    file: QueueFile = None,
) -> None:
    """Give a waiting job another place."""
    from bakehouse.queue.job_queue import JobQueue

    found = JobQueue(file).move(job, place)
    say(f"job {found.id} ({found.name}) has place {place}")


@queue.command()
def remove(job: Job, file: QueueFile = None) -> None:
    """Take a job out that is not running; its run folder stays."""
    from bakehouse.queue.job_queue import JobQueue

    JobQueue(file).remove(job)
    say(f"job {job} is out of the queue")
