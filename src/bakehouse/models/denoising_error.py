"""The denoising error of given images: how well a base model predicts the noise that was added to them, by position.

An image is encoded, unit noise is added at a few timesteps, and the network predicts it from the noisy latents. Noise
and timesteps are the same for every image, so that errors of two images differ by the images alone. Works for every
family, and for epsilon and v prediction alike: errors are of the noise that a prediction implies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.text_to_image import chunks_for

if TYPE_CHECKING:
    from PIL.Image import Image

LEVELS = (0.05, 0.15, 0.3, 0.5, 0.7)
"""Timesteps as shares of the schedule. Low ones respond to edges and texture, high ones to shapes and composition."""
DRAWS = 2
"""Draws of noise at each timestep; their errors are averaged."""


@torch.no_grad()
def denoising_errors(
    model: Denoiser,
    images: Sequence[Image],
    prompts: Sequence[str],
    *,
    levels: Sequence[float] = LEVELS,
    draws: int = DRAWS,
    clip_skip: int = 1,
    seed: int = 0,
    batch: int = 16,
) -> Tensor:
    """Return maps of squared errors [N, T, h, w], fp32 on the CPU: one for each of T `levels`, the mean over channels.

    Adapters on the model act as they stand: whoever asks for the untouched base sets their strength to 0.

    Args:
        model: the base model.
        images: N images of one size, both sides multiples of the model's `downscale`.
        prompts: the prompt of each image.
        levels: timesteps as shares of the schedule, 0 to 1.
        draws: draws of noise per timestep.
        clip_skip: layer of the text encoder, as in A1111.
        seed: seed of the noise.
        batch: rows in one call of the network.

    Raises:
        ValueError: a prompt for each image is needed, or the images differ in size.
    """
    if len(images) != len(prompts):
        raise ValueError(f"{len(images)} images, but {len(prompts)} prompts")
    if len({image.size for image in images}) > 1:
        raise ValueError("images of different sizes cannot share a batch")
    if not images:
        return torch.zeros(0, len(levels), 0, 0)
    known = {prompt: _encoded(model, prompt, clip_skip) for prompt in dict.fromkeys(prompts)}
    rows = []
    for start in range(0, len(images), batch):
        stop = start + batch
        cond = Conditioning.cat([known[prompt] for prompt in prompts[start:stop]])
        latents = torch.cat([model.encode_image(_pixels(image, model)).mean for image in images[start:stop]])
        rows.append(_errors(model, latents.float(), cond, levels, draws, seed))
    return torch.cat(rows)


def _errors(
    model: Denoiser, latents: Tensor, cond: Conditioning, levels: Sequence[float], draws: int, seed: int
) -> Tensor:
    """Return error maps [B, T, h, w] of clean latents [B, C, h, w]."""
    generator = torch.Generator("cpu").manual_seed(seed)
    maps = []
    for level in levels:
        steps = torch.full((len(latents),), round(level * (model.schedule.steps - 1)), dtype=torch.int64)
        total = torch.zeros(len(latents), *latents.shape[2:])
        for _ in range(draws):
            noise = torch.randn(latents.shape[1:], generator=generator).to(latents.device).expand_as(latents)
            x_t = model.schedule.add_noise(latents, noise, steps)
            predicted = model.schedule.to_eps(model(x_t, steps.to(latents.device), cond).float(), x_t, steps)
            total += (predicted - noise).square().mean(dim=1).cpu()
        maps.append(total / draws)
    return torch.stack(maps, dim=1)


def _encoded(model: Denoiser, prompt: str, clip_skip: int) -> Conditioning:
    return model.encode_prompt([prompt], clip_skip=clip_skip, chunks=chunks_for(model, prompt))


def _pixels(image: Image, model: Denoiser) -> Tensor:
    """Return an image as pixels [1, 3, H, W] in -1..1 on the model's device."""
    values = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32))
    return (values.permute(2, 0, 1)[None] / 127.5 - 1).to(model.device)
