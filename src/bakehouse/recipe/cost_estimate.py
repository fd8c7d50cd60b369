"""Estimates of time, memory and disk, from the network's operations and the device's speed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from bakehouse.losses.slider import SliderSpec
from bakehouse.recipe.device_and_precision import pick_device
from bakehouse.recipe.memory_estimate import learned_parameters, memory_use, unet_parameters
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.setting_conflicts import shard_obstacles


@dataclass(frozen=True)
class Estimate:
    """Estimated time, memory and disk; accurate within a factor of two."""

    seconds: float
    memory_bytes: int
    """On each device."""
    disk_bytes: int
    device: str
    devices: int = 1
    traffic_bytes: int = 0
    """Gradients, and weights where they are divided, that each device sends, and receives, in a step."""
    traffic_seconds: float = 0.0
    """Share of them in `seconds`."""
    divided: bool = False
    """The devices share the weights (`train.shard`)."""
    otherwise: Estimate | None = None
    """The same training with whole weights on each device, or where they are whole, with divided ones; None where there
    is no choice."""


@dataclass(frozen=True)
class _Cost:
    """Cost of one family at its native resolution."""

    native: int
    unet_gflop: float
    """Forward pass of one image, counting a multiply-add as two."""
    text_gflop: float
    weights: int
    """Parameters of UNet, text encoder(s) and VAE."""


_COSTS = {
    "crumb": _Cost(128, 1.9, 0.13, 18_400_000),
    "sd1": _Cost(512, 803.0, 13.1, 1_066_000_000),
    "sd2": _Cost(768, 1950.0, 46.0, 1_290_000_000),
    "sdxl": _Cost(1024, 5980.0, 122.0, 3_470_000_000),
}

_ASSUMED_GFLOPS = {"cuda": 40_000.0, "mps": 4_000.0}
"""Speed of a mid-range card in half precision, used because measuring would initialize the device."""

_ASSUMED_LINK = {"cuda": 10e9, "cpu": 1e9}
"""Bytes a second between two devices of one machine: PCIe 4.0 with 16 lanes as NCCL uses it; gloo within a machine."""


def estimate(recipe: Recipe, model: str, steps: int, class_images: int) -> Estimate:
    """Estimate the cost of `steps` steps on the recipe's devices; `model` is a family, or crumb."""
    chosen = _estimate(recipe, model, steps, class_images)
    if recipe.train.devices == 1 or any(shard_obstacles(recipe)):
        return chosen
    other = recipe.with_values({"train.shard": not recipe.train.shard})
    return replace(chosen, otherwise=_estimate(other, model, steps, class_images))


def _estimate(recipe: Recipe, model: str, steps: int, class_images: int) -> Estimate:
    cost = _COSTS.get(model, _COSTS["sd1"])
    device = pick_device(recipe.train.device)
    area = (recipe.buckets.resolution / cost.native) ** 2
    train, kind = recipe.train, device.split(":")[0]
    full = recipe.adapter.kind == "full"
    # Backward costs as much as forward again for the activations, and once more for the weights where they learn.
    passes = 3.0 if full else 2.2
    per_image = cost.unet_gflop * area * passes + (cost.text_gflop * passes if recipe.trains_text else 0)
    if recipe.kind == "slider" and recipe.concepts:
        per_image *= len(recipe.concepts)
    elif recipe.kind == "slider":
        per_image = cost.unet_gflop * area * slider_passes(recipe.slider, passes)
    making = class_images * recipe.prior.steps * cost.unet_gflop * area * (2 if recipe.prior.guidance > 1 else 1)
    # Processes on a CPU share its cores.
    speed = _ASSUMED_GFLOPS.get(kind) or _cpu_gflops() / train.devices
    learned = cost.weights if full else 0 if recipe.adapter.kind == "none" else cost.weights * 0.03
    memory = memory_use(recipe, model, kind)
    passes, divided = -(-train.accumulation // train.devices), bool(train.shard and train.devices > 1)
    traffic = _traffic(recipe, model, passes, divided=divided)
    waiting = steps * traffic / _ASSUMED_LINK.get(kind, 1e9)
    shown = steps * train.batch_size * passes
    saved = -(-(recipe.train.epochs or 1) // recipe.save.every_epochs) if recipe.save.every_epochs else 1
    disk = (2 * learned) * min(saved, recipe.save.keep_last or saved) + 12 * learned
    seconds = (shown * per_image + making / train.devices) / speed + waiting
    return Estimate(seconds, memory.total, int(disk), device, train.devices, int(traffic), waiting, divided)


def _traffic(recipe: Recipe, model: str, passes: int, *, divided: bool) -> float:
    """Return the bytes that each device sends in a step.

    In a ring each part of a tensor is sent by every device but one: once to gather it, once to add it up and divide the
    sum, twice to add it up whole (Patarasuk and Yuan 2009). Divided weights are gathered for both directions of each
    batch, and their gradients added up after it.
    """
    network = 4 * unet_parameters(model) if divided else 0
    whole = 4 * learned_parameters(recipe, model) - network
    devices = recipe.train.devices
    return (devices - 1) / devices * (3 * passes * network + 2 * whole)


def slider_passes(spec: SliderSpec, trained: float) -> float:
    """Return the forward passes for one image in a step of a slider, where each that is trained counts as `trained`.

    The last of P points out of S steps is at S P / (P + 1) on average; guidance takes two passes for each step before
    it, and P training steps share them. The base predicts for both ends and the middle once for all strengths.
    """
    held = 1 if spec.anchors else 0
    denoised = spec.steps * spec.points / (spec.points + 1) * (2 if spec.guidance > 1 else 1) / spec.points
    return denoised + 3 + held + len(spec.signs) * (1 + held) * trained


def _cpu_gflops() -> float:
    """Estimate the CPU's speed from its cores: convolutions on one core with AVX2 reach about 45 GFLOP/s."""
    return 45.0 * (os.cpu_count() or 1)
