"""What a loss is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.models.denoiser import Conditioning, Denoiser


@dataclass(frozen=True)
class Batch:
    """Samples of one shape.

    `latents` [B, C, h, w] in the model's scale; `mask` [B, 1, h, w] in 0..1 or None; `is_prior` [B] bool;
    `weight` [B]: what a sample counts in the mean (the prior weight for class images, else 1).
    """

    latents: Tensor
    cond: Conditioning
    weight: Tensor
    is_prior: Tensor
    mask: Tensor | None = None
    sizes: Tensor | None = None
    """[B, 6] int: height and width of the original, top and left of the crop in the resized picture, height and width
    of the target. `cond` carries them already where the model is told (SDXL)."""
    base_cond: Conditioning | None = None
    """Of the prior rows alone, as the untouched base encodes them: their target is then what the base predicts."""


LossFn = Callable[[Denoiser, Adapter, Batch, torch.Generator], Tensor]
"""One loss per sample, [B], before `Batch.weight`; the loop takes the weighted mean. All chance is the generator's."""
