"""Training: from a recipe to saved weights, with caches, saved states and resuming, and the learning-rate range test.

Networks are imported when a name is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bakehouse.core.lazy_names import lazy_names

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

__getattr__ = lazy_names(__name__, _HOMES)
