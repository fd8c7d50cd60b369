"""The queue of trainings: jobs that wait in one SQLite file, and the scheduler that runs them on devices.

A job is a recipe and a run folder; it is run by a process of its own, so nothing here imports the trainer.
"""

from bakehouse.queue.job_queue import Job, JobQueue
from bakehouse.queue.scheduler import work

__all__ = ["Job", "JobQueue", "work"]
