"""The queue's commands that change one job."""

from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import QueueFile
from bakehouse.cli.queue import Number
from bakehouse.cli.queue import queue as queue


@queue.command()
def stop(job: Number, file: QueueFile = None) -> None:
    """Stop a running job, or hold a waiting one back. What it has learned stays; `resume` goes on."""
    from bakehouse.train.queue import JobQueue

    found = JobQueue(file).stop(job)
    print(f"job {found.id} ({found.name}) " + ("is asked to stop" if found.state == "running" else "is held back"))


@queue.command()
def resume(job: Number, file: QueueFile = None) -> None:
    """Let a stopped or failed job wait again: it goes on where it was."""
    from bakehouse.train.queue import JobQueue

    found = JobQueue(file).resume(job)
    print(f"job {found.id} ({found.name}) is {found.state}")


@queue.command()
def move(
    job: Number,
    place: Annotated[int, typer.Argument(metavar="PLACE", help="Among those that wait; 1 is next.")],
    file: QueueFile = None,
) -> None:
    """Give a waiting job another place."""
    from bakehouse.train.queue import JobQueue

    found = JobQueue(file).move(job, place)
    print(f"job {found.id} ({found.name}) has place {place}")


@queue.command()
def remove(job: Number, file: QueueFile = None) -> None:
    """Take a job out that is not running; its run folder stays."""
    from bakehouse.train.queue import JobQueue

    JobQueue(file).remove(job)
    print(f"job {job} is out of the queue")
