"""The batch that a loss is computed on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bakehouse.models.denoiser import Conditioning


@dataclass(frozen=True)
class Batch:
    """Samples of one shape.

    `latents` [B, C, h, w] in the model's scale; `mask` [B, 1, h, w] in 0..1 or None; `is_prior` [B] bool, true for
    class images; `weight` [B]: the sample's weight in the mean (the prior weight for class images, else 1).
    """

    latents: Tensor
    cond: Conditioning
    weight: Tensor
    is_prior: Tensor
    mask: Tensor | None = None
    sizes: Tensor | None = None
    """[B, 6] int: height and width of the original, top and left of the crop in the resized image, height and width of
    the target. `cond` has them too for models with size conditioning (SDXL)."""
    base_cond: Conditioning | None = None
    """Conditioning of the class images alone, encoded by the base's text encoder; their target is then the prediction
    of the base."""
    strength: float = 1.0
    """Strength of the adapter in this batch. It holds in the backward pass too, where gradient checkpointing computes
    the predictions a second time."""
