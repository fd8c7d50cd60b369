"""Learning rates and exposures of each kind of adapter relative to LoRA's, for plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bakehouse.adapters import AdapterSpec, LoRA


@dataclass(frozen=True)
class LoRAMultipliers:
    """Factors on a LoRA's training settings."""

    lr: float = 1.0
    """On AdamW's learning rate."""
    initial_lr: float | None = None
    """On the initial rate of optimizers that adapt it, if it differs from `lr`: they have one for UNet and text."""
    exposures: float = 1.0
    """On the number of image exposures."""
    why: str = ""


MULTIPLIERS: Mapping[str, LoRAMultipliers] = {
    "lokr": LoRAMultipliers(lr=0.6, why="Kronecker factors multiply each other: 5e-5 to 8e-5 instead of LoRA's 1e-4"),
    "ia3": LoRAMultipliers(
        lr=60.0, exposures=0.5, why="few factors, near 1: 5e-3 to 1e-2 instead of LoRA's 1e-4, half the steps"
    ),
    "oft": LoRAMultipliers(
        exposures=0.57, why="rotations converge early: about 170 exposures per epoch instead of LoRA's 300"
    ),
    "boft": LoRAMultipliers(
        exposures=0.57, why="rotations converge early: about 170 exposures per epoch instead of LoRA's 300"
    ),
    "diff": LoRAMultipliers(lr=0.1, why="every weight trains, as in a fine-tune: 1e-5 instead of LoRA's 1e-4"),
    "full": LoRAMultipliers(lr=0.02, why="the base's own weights train: 2e-6 instead of LoRA's 1e-4"),
}
"""Kinds that differ from LoRA in runs of thousands of steps, as is usual for Stable Diffusion."""

SHORT_RUN_MULTIPLIERS: Mapping[str, LoRAMultipliers] = {
    "lora_fa": LoRAMultipliers(lr=10.0, why="LoRA's fixed factor A would have grown"),
    "lokr": LoRAMultipliers(lr=8.0, initial_lr=3.0, why="one factor is shared by many blocks of the weight"),
    "ia3": LoRAMultipliers(lr=60.0, exposures=2.0, why="few factors, near 1, train slowly"),
    "oft": LoRAMultipliers(lr=1.5, why="rotations preserve lengths"),
    "boft": LoRAMultipliers(lr=0.7, why="each stage rotates the result of the one before"),
    "diff": LoRAMultipliers(lr=0.4, why="every weight trains"),
    "full": LoRAMultipliers(lr=0.25, why="the base's own weights train"),
}
"""Kinds that differ from LoRA in runs of about a hundred steps: measured on crumb."""


def multipliers_for(adapter: AdapterSpec, *, short: bool = False) -> LoRAMultipliers:
    """Return the multipliers of an adapter's kind; all 1 for kinds without an entry.

    Args:
        short: the run has about a hundred steps, not thousands.
    """
    name = "lora_fa" if isinstance(adapter, LoRA) and adapter.lora_fa else adapter.kind
    return (SHORT_RUN_MULTIPLIERS if short else MULTIPLIERS).get(name, LoRAMultipliers())
