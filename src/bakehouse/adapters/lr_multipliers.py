"""How fast each kind of adapter learns beside LoRA, for plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bakehouse.adapters import AdapterSpec, LoRA


@dataclass(frozen=True)
class Pace:
    """What a LoRA's numbers are multiplied by."""

    rate: float = 1.0
    """AdamW's learning rate."""
    begin: float | None = None
    """The rate from which an optimizer that finds it begins, where that is another: it has one for UNet and words."""
    shows: float = 1.0
    """Images shown."""
    why: str = ""


PACES: Mapping[str, Pace] = {
    "lokr": Pace(rate=0.6, why="Kronecker factors multiply each other: 5e-5 to 8e-5 where LoRA takes 1e-4"),
    "ia3": Pace(rate=60.0, shows=0.5, why="few factors, near 1: 5e-3 to 1e-2 where LoRA takes 1e-4, half the steps"),
    "oft": Pace(shows=0.57, why="rotations settle early: about 170 shows an epoch where LoRA takes 300"),
    "boft": Pace(shows=0.57, why="rotations settle early: about 170 shows an epoch where LoRA takes 300"),
    "diff": Pace(rate=0.1, why="every number of the weights learns, as in a fine-tune: 1e-5 where LoRA takes 1e-4"),
    "full": Pace(rate=0.02, why="the base's own weights learn: 2e-6 where LoRA takes 1e-4"),
}
"""Kinds that differ from LoRA in thousands of steps, as the field trains Stable Diffusion."""

SHORT_PACES: Mapping[str, Pace] = {
    "lora_fa": Pace(rate=10.0, why="LoRA's fixed half would have grown"),
    "lokr": Pace(rate=8.0, begin=3.0, why="what a factor learns for one block it must take back in the others"),
    "ia3": Pace(rate=60.0, shows=2.0, why="few factors, near 1, are long in learning"),
    "oft": Pace(rate=1.5, why="rotations leave lengths alone"),
    "boft": Pace(rate=0.7, why="each stage turns what the last one turned"),
    "diff": Pace(rate=0.4, why="every number of the weights learns"),
    "full": Pace(rate=0.25, why="the base's own weights learn"),
}
"""Kinds that differ from LoRA where a run has a hundred steps: measured on crumb."""


def pace_of(adapter: AdapterSpec, *, short: bool = False) -> Pace:
    """The pace of an adapter's kind; LoRA's own for kinds that are in no table.

    Args:
        short: the run has about a hundred steps, not thousands.
    """
    name = "lora_fa" if isinstance(adapter, LoRA) and adapter.lora_fa else adapter.kind
    return (SHORT_PACES if short else PACES).get(name, Pace())
