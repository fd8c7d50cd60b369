"""Diagnosis of a loss that is NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.core.errors import BakehouseError
from bakehouse.losses import Batch
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe import Recipe
from bakehouse.training.sharding import own_part


class NotANumberError(BakehouseError):
    """A loss is NaN or infinite: the training cannot continue."""


def is_finite(loss: float) -> bool:
    """Return whether a loss is a number."""
    return math.isfinite(loss)


def broken_weights(adapter: Adapter) -> list[str]:
    """Return the names of trained weights that are NaN or infinite, in the parts that this rank has."""
    return [name for name, p in adapter.named_parameters() if not _finite(p)]


def diagnose(
    model: Denoiser,
    adapter: Adapter,
    batch: Batch,
    gradient_norms: Sequence[float],
    recipe: Recipe,
    *,
    half: bool,
    broken: Sequence[str],
) -> str:
    """Return the likeliest cause of a loss that is not a number, in one sentence with the next step.

    `half`: whether the forward pass is computed in half precision, which overflows where single precision does not.
    `broken`: the `broken_weights` of all ranks.
    """
    spec = recipe.optimizer
    text = _too_high("lr", spec.lr) if spec.text_lr is None else _too_high("text_lr", spec.text_lr)
    unet = text if spec.lr is None else _too_high("lr", spec.lr)
    # Inputs come first: after a step with a bad input, all trained weights are NaN as well.
    if not _finite(batch.latents):
        return f"an encoded image is not a number: the VAE {_overflow(half)}"
    if not _finite(batch.cond.hidden):
        cause = f"the text encoder {_overflow(half)}" if half or not adapter.trains_text else text
        return f"an encoded caption is not a number: {cause}"
    if broken:
        norms = ", ".join(f"{n:.3g}" for n in gradient_norms)
        cause = text if all(map(adapter.is_text, broken)) else unet
        return f"the trained weights are NaN or infinite (last gradient norms {norms}): {cause}"
    if not all(_finite(p) for p in model.parameters()):
        return "the base model's file has weights that are NaN or infinite: download it again"
    if half:
        return "the network overflows in this precision: set train.precision = 'bf16' or 'fp32', or lower optimizer.lr"
    return f"the network overflows: {unet}"


def _overflow(half: bool) -> str:
    if half:
        return "overflows in this precision; set train.precision = 'fp32'"
    return "overflows even in fp32: try another file of the base model"


def _too_high(name: str, rate: float | None) -> str:
    return f"optimizer.{name} = {rate or 0:g} is too high; try a third of it"


def _finite(x: Tensor) -> bool:
    return bool(torch.isfinite(own_part(x)).all())
