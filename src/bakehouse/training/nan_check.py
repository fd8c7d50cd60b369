"""When a loss is not a number: stop, and say why."""

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


class NotANumberError(BakehouseError):
    """A loss is infinite or not a number: the training cannot go on from here."""


def is_finite(loss: float) -> bool:
    return math.isfinite(loss)


def diagnose(
    model: Denoiser, adapter: Adapter, batch: Batch, gradient_norms: Sequence[float], recipe: Recipe, *, half: bool
) -> str:
    """The likeliest cause of a loss that is not a number, in one sentence with the next step.

    `half`: whether the forward pass is computed in half precision, which overflows where single precision does not.
    """
    spec = recipe.optimizer
    words = _too_high("lr", spec.lr) if spec.text_lr is None else _too_high("text_lr", spec.text_lr)
    unet = words if spec.lr is None else _too_high("lr", spec.lr)
    # What went in is looked at first: behind the step that it spoiled all that learns is no number either.
    if not _finite(batch.latents):
        return f"an encoded image is not a number: the VAE {_overflow(half)}"
    if not _finite(batch.cond.hidden):
        cause = f"the text encoder {_overflow(half)}" if half or not adapter.trains_text else words
        return f"an encoded caption is not a number: {cause}"
    if broken := [name for name, p in adapter.named_parameters() if not _finite(p)]:
        norms = ", ".join(f"{n:.3g}" for n in gradient_norms)
        cause = words if all(map(adapter.is_text, broken)) else unet
        return f"the weights grew out of all bounds (last gradient norms {norms}): {cause}"
    if not all(_finite(p) for p in model.parameters()):
        return "the base model holds weights that are not numbers: fetch the file again"
    if half:
        return "the network overflows in this precision: set train.precision = 'bf16' or 'fp32', or lower optimizer.lr"
    return f"the network overflows: {unet}"


def _overflow(half: bool) -> str:
    if half:
        return "overflows in this precision; set train.precision = 'fp32'"
    return "cannot compute it even in fp32: try another file of the base model"


def _too_high(name: str, rate: float | None) -> str:
    return f"optimizer.{name} = {rate or 0:g} is too high; try a third"


def _finite(x: Tensor) -> bool:
    return bool(torch.isfinite(x).all())
