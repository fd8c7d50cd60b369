"""Training: from a recipe to saved weights, with caches, saved states and resuming, and the learning-rate range test.

Networks are imported when a name is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bakehouse.training.lr_finder.range_test import find_lr as find_lr
    from bakehouse.training.ranks import joined_ranks as joined_ranks
    from bakehouse.training.trainer import train as train

_HOMES = {
    "find_lr": "lr_finder.range_test",
    "joined_ranks": "ranks",
    "train": "trainer",
}

__all__ = ["find_lr", "joined_ranks", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bakehouse.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bakehouse.training.{_HOMES[name]}"), name)
