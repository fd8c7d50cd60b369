"""Estimates a training's memory on the device by its parts, and lists settings that reduce it.

The table holds what `python -m benchmarks.activations` measures on the real networks without computing them: every
tensor that autograd keeps, in the types that autocast gives them, with attention that never writes its matrix down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.setting_conflicts import shard_obstacles

GB = 1e9

GRADIENTS_AT_ONCE = 2**28
"""Bytes of gradients that are collected before they are used in a fused backward pass."""

_RESERVE = {"cuda": int(0.9 * GB), "mps": int(0.6 * GB), "cpu": int(0.35 * GB)}
"""Bytes of driver context, library workspaces and fragmentation; on a CPU of the interpreter and PyTorch."""


@dataclass(frozen=True)
class Footprint:
    """One family's numbers: parameters, and bytes for the backward pass of one image at its native resolution."""

    native: int
    unet: int
    text: int
    vae: int
    per_rank: int
    """Parameters of a LoRA on the UNet's transformer blocks, for each rank."""
    whole: int
    """Bytes of one image in fp32."""
    half: int
    """Under autocast, which keeps norms in fp32."""
    checkpointed: int
    """Under autocast with gradient checkpointing."""
    block: int
    """The largest block that checkpointing recomputes, whatever the batch."""
    layer: int
    """The largest weight of the UNet: temporary memory of dequantizing."""
    unit: int
    """Parameters of the largest of the UNet's blocks (`Denoiser.blocks`), which sharding gathers one by one."""
    around: int
    """Parameters of the UNet outside of the blocks."""


_MIB = 2**20

FOOTPRINTS: Mapping[str, Footprint] = {
    "crumb": Footprint(
        native=128, unet=14_949_892, text=1_700_000, vae=1_800_000, per_rank=46_848, layer=589_824,
        unit=1_120_128, around=1_838_404,
        whole=15 * _MIB, half=13 * _MIB, checkpointed=3 * _MIB, block=9 * _MIB,
    ),
    "sd1": Footprint(
        native=512, unet=859_520_964, text=123_060_480, vae=83_653_863, per_rank=423_936, layer=14_745_600,
        unit=49_164_800, around=79_441_924,
        whole=1821 * _MIB, half=1246 * _MIB, checkpointed=300 * _MIB, block=21 * _MIB,
    ),
    "sd2": Footprint(
        native=768, unet=865_910_724, text=340_387_840, vae=83_653_863, per_rank=423_936, layer=14_745_600,
        unit=49_164_800, around=79_441_924,
        whole=4088 * _MIB, half=2722 * _MIB, checkpointed=675 * _MIB, block=47 * _MIB,
    ),
    "sdxl": Footprint(
        native=1024, unet=2_567_463_684, text=817_719_552, vae=83_653_863, per_rank=2_659_840, layer=13_107_200,
        unit=49_164_800, around=54_163_204,
        whole=13037 * _MIB, half=8248 * _MIB, checkpointed=771 * _MIB, block=162 * _MIB,
    ),
}  # fmt: skip


_VECTOR = 2048
"""Numbers of a word's vector in both of SDXL's text encoders, the widest."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes on the device at the peak of a step."""

    weights: int
    """Frozen and trained weights."""
    gradients: int
    optimizer: int
    """Two averages of each trained weight, and master copies."""
    activations: int
    reserve: int
    loading: int
    """Whole weights before training begins, where the devices share them then."""
    accumulates: bool
    """Gradients are kept during the next forward pass; otherwise they replace activations as these are freed."""

    @property
    def total(self) -> int:
        both = self.gradients + self.activations
        moving = both if self.accumulates else max(self.gradients, self.activations)
        return max(self.loading, self.weights + self.optimizer + moving) + self.reserve

    def __str__(self) -> str:
        parts = (
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("reserve", self.reserve),
        )
        return f"{self.total / GB:.1f} GB: " + ", ".join(f"{name} {value / GB:.1f}" for name, value in parts)


def memory_use(recipe: Recipe, model: str, device: str) -> MemoryUse:
    """Return the memory of a step of `recipe`, on each of its devices.

    `model` is a family or crumb, `device` cpu, cuda or mps.
    """
    cost = FOOTPRINTS.get(model, FOOTPRINTS["sd1"])
    train, full = recipe.train, recipe.adapter.kind == "full"
    half = train.precision in ("fp16", "bf16") or (train.precision == "auto" and device == "cuda")
    learned = learned_parameters(recipe, model)
    size = 4 if full or not half else 2
    parts = train.devices if train.shard else 1
    weights = cost.unet * (1 if recipe.model.quantize else size)
    loading = int(weights) if parts > 1 else 0
    away = device != "cpu" and train.offload is not False
    weights += 0 if away and not recipe.trains_text else cost.text * size
    weights += 0 if away else cost.vae * size
    weights += 0 if full else 4 * learned
    divided = cost.unet if parts > 1 else 0
    # A block is computed while the next is gathered; what is outside of blocks stays from its first use to its last.
    weights -= 4 * (divided - divided // parts - 2 * cost.unit - cost.around) if divided else 0
    own = learned - divided + divided // parts
    area = (recipe.buckets.resolution / cost.native) ** 2
    per_image = (cost.half if half else cost.whole) * area
    if train.gradient_checkpointing:
        per_image = cost.checkpointed * area
    activations = per_image * train.batch_size + (cost.block * area if train.gradient_checkpointing else 0)
    activations += cost.layer * size if recipe.model.quantize else 0
    # Autocast's copies of what learns, kept for the way back; of divided weights only where nothing is recomputed.
    copied = learned - divided if divided and train.gradient_checkpointing else learned
    activations += 2 * copied if full and half else 0
    states = optimizer_bytes(recipe.optimizer.name, full=full) * own
    gradients = 4 * own + (4 * cost.unit if divided else 0)
    return MemoryUse(
        weights=int(weights),
        gradients=min(gradients, GRADIENTS_AT_ONCE + 4 * cost.layer) if train.fused_backward else gradients,
        optimizer=int(states),
        activations=int(activations),
        reserve=_RESERVE.get(device, _RESERVE["cuda"]),
        loading=loading,
        accumulates=-(-train.accumulation // train.devices) > 1,
    )


def optimizer_bytes(name: str, *, full: bool) -> float:
    """Return bytes of state for each trained weight. 8-bit optimizers save little with adapters (small tensors)."""
    if "8bit" in name:
        return 2.0 if full else 4.0
    return {"prodigy": 16.0, "adafactor": 0.1, "lion": 4.0}.get(name, 8.0)


def unet_parameters(model: str) -> int:
    """Return the number of the UNet's parameters; `model` is a family or crumb."""
    return FOOTPRINTS.get(model, FOOTPRINTS["sd1"]).unet


def learned_parameters(recipe: Recipe, model: str) -> int:
    """Return the number of trained parameters; `model` is a family or crumb."""
    cost = FOOTPRINTS.get(model, FOOTPRINTS["sd1"])
    if recipe.adapter.kind == "full":
        return cost.unet * recipe.adapter.unet + cost.text * recipe.adapter.text
    if recipe.adapter.kind == "none":
        return _VECTOR * (recipe.embedding.vectors or 1)
    rank = getattr(recipe.adapter, "rank", 16)
    return int(cost.per_rank * rank * (1.3 if recipe.adapter.text else 1.0))


def savings(recipe: Recipe, device: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield settings that need less memory, the cheapest first; each in addition to those before it.

    Yields the values of dotted keys, and what they cost.
    """
    train = recipe.train
    if not train.gradient_checkpointing:
        yield {"train.gradient_checkpointing": True}, "a third slower, the same result"
    batch, accumulation = train.batch_size, train.accumulation
    while batch > 1:
        smaller = batch // 2
        accumulation = -(-accumulation * batch // smaller)
        batch = smaller
        yield {"train.batch": batch, "train.accumulation": accumulation}, "as many images a step"
    full = recipe.adapter.kind == "full"
    if full and device == "cuda" and recipe.optimizer.name == "adamw":
        yield {"optimizer.name": "adamw8bit"}, "averages in 8 bits; needs bitsandbytes"
    if full and train.devices > 1 and not train.shard and not any(shard_obstacles(recipe)):
        yield {"train.shard": True}, "weights, gradients and averages are divided among the devices"
    if full and accumulation == 1 and recipe.optimizer.row.each_alone and not train.fused_backward:
        yield {"train.fused_backward": True, "train.max_grad_norm": 0}, "gradients are freed as they come, not clipped"
    if train.offload is False and device != "cpu":
        yield {"train.offload": True}, "text encoder and VAE leave the device"
    if full:
        yield {"adapter.kind": "lora"}, "an adapter learns in place of the weights"
    if not recipe.model.quantize:
        yield {"model.quantize": "int8"}, "frozen weights in 8 bits, nearly the same result"
    if recipe.adapter.text:
        yield {"adapter.text": False}, "the text encoder does not learn"
    resolution = recipe.buckets.resolution
    while (resolution := resolution * 3 // 4 // 64 * 64) >= 256:
        yield {"buckets.resolution": resolution}, "smaller pictures"
