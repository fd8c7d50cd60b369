"""Following what a job's training does while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bakehouse.core.events import Event
from bakehouse.core.run_folder import EventReader, Run
from bakehouse.queue.job_queue import JobQueue


def follow_events(queue: JobQueue, job: int, *, poll_seconds: float = 0.3) -> Iterator[Event]:
    """Yield the events of a job's run: those so far, then each new one, until the job neither waits nor runs.

    A training that resumes writes the events after its last saved state again; those are yielded again too.

    Raises:
        UsageError: the queue has no such job.
        BakehouseError: the queue or the run's events.jsonl cannot be read.
    """
    reader = EventReader(Run(queue.job(job).run))
    while True:
        is_active = queue.job(job).state in ("waiting", "running")
        yield from reader.read_new()  # after the state: the last events were written before the job ended
        if not is_active:
            return
        time.sleep(poll_seconds)
