"""When a loss is not a number: stop, and say why."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.core.errors import BakehouseError
from bakehouse.families.denoiser import Denoiser
from bakehouse.losses import Batch


class NotANumberError(BakehouseError):
    """A loss is infinite or not a number: the training cannot go on from here."""


def is_finite(loss: float) -> bool:
    return math.isfinite(loss)


def diagnose(model: Denoiser, adapter: Adapter, batch: Batch, gradient_norms: Sequence[float], lr: float) -> str:
    """The likeliest cause of a loss that is not a number, in one sentence with the next step."""
    if not _finite(batch.latents):
        return "an encoded image is not a number: the VAE overflows in this precision; set train.precision = 'fp32'"
    if not _finite(batch.cond.hidden):
        return "an encoded caption is not a number: the text encoder overflows; set train.precision = 'fp32'"
    if not all(_finite(p) for p in adapter.parameters()):
        norms = ", ".join(f"{n:.3g}" for n in gradient_norms)
        grew = f"the weights grew out of all bounds (last gradient norms {norms})"
        return f"{grew}: optimizer.lr = {lr:g} is too high; try a third"
    if not all(_finite(p) for p in model.parameters()):
        return "the base model holds weights that are not numbers: fetch the file again"
    return "the network overflows in this precision: set train.precision = 'bf16' or 'fp32', or lower optimizer.lr"


def _finite(x: Tensor) -> bool:
    return bool(torch.isfinite(x).all())
