"""From a plan to weights: caches, the loop, checkpoints."""

from bakehouse.train.bake import bake
from bakehouse.train.loop import train

__all__ = ["bake", "train"]
