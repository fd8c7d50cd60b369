"""From a plan to weights: caches, the loop, saved states, resuming, and the learning-rate range test.

Networks are imported when a name is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bakehouse.training.loop import train as train
    from bakehouse.training.lr_finder.range_test import find_rate as find_rate
    from bakehouse.training.trainer import bake as bake

_HOMES = {
    "bake": "trainer",
    "find_rate": "lr_finder.range_test",
    "train": "loop",
}

__all__ = ["bake", "find_rate", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bakehouse.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bakehouse.training.{_HOMES[name]}"), name)
