"""A second pass at a larger size (A1111's hires fix): the first pass's latents are enlarged and sampled again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bakehouse.core.errors import UsageError
from bakehouse.data.open_image import to_pixels
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.image_to_image import InitImage, encode_images, schedule_of_steps
from bakehouse.models.sampling import to_images

if TYPE_CHECKING:
    from PIL.Image import Image

Enlarge = Callable[["Image", tuple[int, int]], "Image"]
"""Enlarges an image to a width and height in pixels."""

LATENT_UPSCALERS: Mapping[str, Mapping[str, Any]] = {
    "Latent": {"mode": "bilinear"},
    "Latent (antialiased)": {"mode": "bilinear", "antialias": True},
    "Latent (bicubic)": {"mode": "bicubic"},
    "Latent (bicubic antialiased)": {"mode": "bicubic", "antialias": True},
    "Latent (nearest)": {"mode": "nearest"},
    "Latent (nearest-exact)": {"mode": "nearest-exact"},
}
"""A1111's interpolations of latents, by its names: arguments of `torch.nn.functional.interpolate`."""


@dataclass(frozen=True)
class SecondPass:
    """Settings of a second pass."""

    width: int
    """Pixels, a multiple of the model's `downscale`."""
    height: int
    steps: int
    """Steps that are run."""
    strength: float
    """0 to 1; at 0 the image is enlarged and not sampled again."""
    upscaler: str
    """A name in `LATENT_UPSCALERS`; any other is for the caller's `Enlarge`."""

    @property
    def schedule_steps(self) -> int:
        """Steps of the whole schedule, of which the last `steps` are run."""
        return schedule_of_steps(self.steps, self.strength)

    @property
    def steps_run(self) -> int:
        return self.steps if self.strength > 0 else 0

    def check(self, model: Denoiser) -> None:
        """Check that the model's schedule has as many steps.

        Raises:
            UsageError: it has fewer.
        """
        if self.strength > 0 and self.schedule_steps > model.schedule.steps:
            raise UsageError(
                f"hires steps = {self.steps} at strength {self.strength:g}: these are the last of "
                f"{self.schedule_steps:,} steps, and the model's schedule has {model.schedule.steps:,}",
                hint="use fewer steps or a higher strength",
            )


@torch.no_grad()
def enlarge_latents(model: Denoiser, latents: Tensor, second: SecondPass, enlarge: Enlarge | None) -> Tensor:
    """Return latents [B, C, h, w] at the second pass's size.

    Latents are interpolated; for other upscalers they are decoded, enlarged as images and encoded again.

    Raises:
        ValueError: an upscaler of images without `enlarge`.
    """
    _, height, width = model.latent_shape(second.width, second.height)
    if second.upscaler in LATENT_UPSCALERS:
        return F.interpolate(latents.float(), size=(height, width), **LATENT_UPSCALERS[second.upscaler])
    if enlarge is None:
        raise ValueError(f"upscaler {second.upscaler!r} needs `enlarge`")
    rows = []
    for row in latents:
        (image,) = to_images(model.decode(row[None]))
        larger = enlarge(image, (second.width, second.height))
        rows.append(encode_images(model, [InitImage(torch.from_numpy(to_pixels(larger)))]))
    return torch.cat(rows)
