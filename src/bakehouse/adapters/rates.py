"""How fast each kind of adapter learns beside LoRA, for plans: the rate that does with it what 1e-4 does with LoRA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """What a LoRA's numbers are multiplied by."""

    rate: float = 1.0
    """AdamW's learning rate."""
    shows: float = 1.0
    """Images shown."""
    why: str = ""


PACES: Mapping[str, Pace] = {
    "lokr": Pace(rate=0.6, why="Kronecker factors multiply each other: 5e-5 to 8e-5 where LoRA takes 1e-4"),
    "ia3": Pace(rate=60.0, shows=0.5, why="few factors, near 1: 5e-3 to 1e-2 where LoRA takes 1e-4, half the steps"),
    "oft": Pace(shows=0.57, why="rotations settle early: about 170 shows an epoch where LoRA takes 300"),
    "boft": Pace(shows=0.57, why="rotations settle early: about 170 shows an epoch where LoRA takes 300"),
    "diff": Pace(rate=0.1, why="every number of the weights learns, as in a fine-tune: 1e-5 where LoRA takes 1e-4"),
}
"""Kinds that differ from LoRA."""


def pace_of(kind: str) -> Pace:
    """The pace of an adapter's kind; LoRA's own for kinds that are not in the table."""
    return PACES.get(kind, Pace())
