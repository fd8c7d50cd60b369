"""Sampling from an image: the first latents, the first step, and keeping unmasked latents.

There is one sampling loop (`models.sampling.sample`). Image-to-image and inpainting only choose where it begins and
what its step hook returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bakehouse.models.denoiser import Denoiser
from bakehouse.models.sampling import OnStep, SamplingStep

MaskedLatents = Literal["kept", "noise", "zero"]
"""What masked latents begin as: those of the image, the seed's noise, or zeros."""
_MAX_STRENGTH = 0.999
"""As in A1111: strength 1 is the whole schedule, one step for each of `steps`."""


@dataclass(frozen=True)
class InitImage:
    """What sampling of one image begins from."""

    pixels: Tensor
    """[3, H, W] in -1..1."""
    mask: Tensor | None = None
    """[h, w] of the latents, 0 to 1: 1 is generated, 0 keeps the image's latents. None: all are generated."""
    masked: MaskedLatents = "kept"


def steps_of_strength(steps: int, strength: float) -> int:
    """Return how many of `steps` are run at a strength (0 to 1), the last ones: as in A1111, one more than their share.

    0 at strength 0: the image itself.
    """
    return 0 if strength <= 0 else int(min(strength, _MAX_STRENGTH) * steps) + 1


def schedule_of_steps(steps: int, strength: float) -> int:
    """Return how long a schedule is whose last `steps` steps are a strength's share of it; at least `steps`.

    A1111's second pass (hires fix) counts so: its steps are those that are run.
    """
    return steps if strength <= 0 else max(steps, int(steps / min(strength, _MAX_STRENGTH)))


@torch.no_grad()
def encode_images(model: Denoiser, images: Sequence[InitImage]) -> Tensor:
    """Return the images' latents [B, C, h, w] fp32: the mean, so that no seed is needed.

    Each is encoded alone: in a batch, rounding would depend on its neighbors.
    """
    return torch.cat([model.encode_image(image.pixels[None].to(model.device)).mean.float() for image in images])


class InitLatents:
    """What one batch begins from: clean latents, and which of them are held while the others are generated."""

    def __init__(self, model: Denoiser, images: Sequence[InitImage], noise: Tensor) -> None:
        """Encode the images.

        Args:
            model: the base model.
            images: one for each row.
            noise: the unit noise [B, C, h, w] that sampling begins with.
        """
        self._noise = noise.to(model.device, torch.float32)
        self.latents = encode_images(model, images)
        """[B, C, h, w]."""
        self._generated: Tensor | None = None
        if any(image.mask is not None for image in images):
            everywhere = torch.ones(noise.shape[-2:])
            masks = [everywhere if image.mask is None else image.mask for image in images]
            generated = torch.stack(masks)[:, None].to(self.latents)
            self.latents = torch.lerp(self.latents, self._contents(images), generated)
            self._generated = generated

    def _contents(self, images: Sequence[InitImage]) -> Tensor:
        """Return what masked latents begin as, [B, C, h, w]."""
        rows = {"kept": self.latents, "noise": self._noise, "zero": torch.zeros_like(self.latents)}
        return torch.stack([rows[image.masked][i] for i, image in enumerate(images)])

    def hold(self, step: SamplingStep) -> Tensor | None:
        """Return a step's latents with those outside the masks put back to the image's, at the step's noise level."""
        if self._generated is None:
            return None
        return torch.lerp(step.add_noise(self.latents, self._noise), step.latents, self._generated)


def in_order(*hooks: OnStep | None) -> OnStep:
    """Return one step hook that calls several; each sees what the one before it returned."""

    def call_all(step: SamplingStep) -> Tensor | None:
        latents: Tensor | None = None
        for hook in hooks:
            if hook is None:
                continue
            seen = step if latents is None else SamplingStep(step.done, step.total, latents, step.add_noise)
            replaced = hook(seen)
            latents = latents if replaced is None else replaced
        return latents

    return call_all
