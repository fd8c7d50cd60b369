"""The training queue: jobs in one SQLite file, and the scheduler that runs them on devices through an executor.

A job is a recipe and a run folder; each is trained outside this process, so nothing here imports the trainer.
"""

from bakehouse.queue.executor import Executor, JobHandle, LocalExecutor
from bakehouse.queue.follow_events import follow_events
from bakehouse.queue.job_queue import Job, JobQueue, JobState
from bakehouse.queue.scheduler import JobChanged, run_jobs

__all__ = [
    "Executor",
    "Job",
    "JobChanged",
    "JobHandle",
    "JobQueue",
    "JobState",
    "LocalExecutor",
    "follow_events",
    "run_jobs",
]
