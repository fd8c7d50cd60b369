"""From a plan to weights: caches, the loop, checkpoints; and the queue of what is to be trained.

The loop is imported when it is first used, so that a look at the queue loads no networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bakehouse.train.bake import bake as bake
    from bakehouse.train.loop import train as train
    from bakehouse.train.queue import Job as Job
    from bakehouse.train.queue import JobQueue as JobQueue
    from bakehouse.train.worker import work as work

__all__ = ["Job", "JobQueue", "bake", "train", "work"]


def __getattr__(name: str) -> Any:
    match name:
        case "bake":
            from bakehouse.train.bake import bake as found
        case "train":
            from bakehouse.train.loop import train as found
        case "Job" | "JobQueue":
            from bakehouse.train import queue

            return getattr(queue, name)
        case "work":
            from bakehouse.train.worker import work as found
        case _:
            raise AttributeError(f"module 'bakehouse.train' has no attribute {name!r}")
    globals()[name] = found  # importing bake.py has bound its name to the module
    return found
