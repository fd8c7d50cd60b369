"""Whether devices share the weights of a full fine-tune, and why: `train.shard` where the recipe leaves it open."""

from __future__ import annotations

from bakehouse.recipe.memory_estimate import GB, memory_use
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.setting_conflicts import shard_obstacles

WHOLE_COPY = 20 * GB
"""Bytes of weights, gradients and averages from which a whole copy on each device is too much: what a card of 24 GB has
for them. A rule of the recipe, not of this machine: a plan may be made on another than the one that trains."""


def choose_sharding(recipe: Recipe, model: str, device: str) -> tuple[bool, str]:
    """Return whether the recipe's devices share the weights, and the reason; an empty one if there is no choice.

    `model` is a family or crumb, `device` cpu, cuda or mps.
    """
    train, adapter = recipe.train, recipe.adapter
    if train.devices == 1 or adapter.kind != "full" or not adapter.unet:
        return False, ""
    if train.shard is not None:
        return train.shard, ""
    whole, shared = (
        memory_use(recipe.with_values({"train.shard": shard}), model, device.split(":")[0]) for shard in (False, True)
    )
    held = whole.weights + whole.gradients + whole.optimizer
    if held <= WHOLE_COPY:
        return False, f"a whole copy of the weights on each device is faster, and has {held / GB:.1f} GB with averages"
    if obstacle := next(shard_obstacles(recipe), ""):
        return False, f"{whole.total / GB:.1f} GB on each device; {obstacle}"
    return (
        True,
        f"{shared.total / GB:.1f} GB on each device in place of {whole.total / GB:.1f} GB, and the same weights",
    )
