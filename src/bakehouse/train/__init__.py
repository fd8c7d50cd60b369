"""From a plan to weights: caches, the loop, checkpoints; and the queue of what is to be trained.

The loop is imported when it is first used, so that a look at the queue loads no networks.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bakehouse.train.loop import train as train
    from bakehouse.train.oven import bake as bake
    from bakehouse.train.queue import Job as Job
    from bakehouse.train.queue import JobQueue as JobQueue
    from bakehouse.train.range_test import find_rate as find_rate
    from bakehouse.train.worker import work as work

_HOMES = {
    "Job": "queue",
    "JobQueue": "queue",
    "bake": "oven",
    "find_rate": "range_test",
    "train": "loop",
    "work": "worker",
}

__all__ = ["Job", "JobQueue", "bake", "find_rate", "train", "work"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bakehouse.train' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bakehouse.train.{_HOMES[name]}"), name)
