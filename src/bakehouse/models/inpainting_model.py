"""Inpainting models: a UNet that also reads the mask and the latents of the unmasked image.

Its input is [x_t, mask, masked image] with C + 1 + C channels, 9 for Stable Diffusion (Rombach et al. 2022,
arXiv:2112.10752, section 4.5; the order is that of the published checkpoints). Without an image all is masked, and the
image is gray, as the models saw it in training where a mask covered everything.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bakehouse.models.denoiser import Denoiser
from bakehouse.models.image_to_image import InitImage, encode_images


@torch.no_grad()
def mask_channels(model: Denoiser, images: Sequence[InitImage], size: tuple[int, int], count: int) -> Tensor | None:
    """Return what an inpainting model reads beside the latents, [B, 1 + C, h, w] fp32; None for other models.

    Args:
        model: the base model.
        images: what to begin from, one for each row; empty: nothing, all is generated.
        size: of the latents, rows and columns.
        count: of rows, B.
    """
    if not model.inpaints:
        return None
    height, width = (side * model.downscale for side in size)
    blank = InitImage(torch.zeros(3, height, width))
    shown, masks = [], []
    for image in images or [blank] * count:
        mask = torch.ones(size) if image.mask is None else image.mask.float().round()
        kept = F.interpolate(mask[None, None], size=(height, width))[0] < 0.5
        masks.append(mask[None])
        shown.append(InitImage(torch.where(kept, image.pixels.cpu(), torch.zeros(()))))
    latents = encode_images(model, shown)
    return torch.cat([torch.stack(masks).to(latents), latents], dim=1)
