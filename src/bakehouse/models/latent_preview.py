"""Cheap previews: latents to RGB by one linear map, fitted to the model's own autoencoder."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import cache_dir, key_of, read_checked, write_checked, writing_to
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.guidance import Guider, Predict
from bakehouse.models.noise_schedule import NoiseSchedule
from bakehouse.models.sampling import to_images

if TYPE_CHECKING:
    from PIL.Image import Image

OnPreview = Callable[[int, int, int, "list[Image]"], None]
"""Called with the number of the batch's first image, the steps done, the steps in all, and an image of the latents'
size for each image of the batch."""

_FIT_IMAGES = 24
_FIT_SIDE = 16
"""Latents on each side of an image."""
_CACHE_VERSION = 1
_FITTED: weakref.WeakKeyDictionary[Denoiser, LatentToRgb] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class LatentToRgb:
    """rgb = latent x matrix + offset: an image of the latents' size without running the decoder."""

    matrix: Tensor
    """[C, 3] fp32 on the CPU."""
    offset: Tensor
    """[3]."""

    def __call__(self, latents: Tensor) -> Tensor:
        """Return pixels [B, 3, h, w] in -1..1, clipped, for latents [B, C, h, w]; what is not finite becomes gray."""
        rgb = torch.einsum("bchw,cd->bdhw", latents.detach().to("cpu", torch.float32), self.matrix)
        return torch.nan_to_num(rgb + self.offset[:, None, None]).clamp(-1, 1)


def latent_to_rgb(model: Denoiser) -> LatentToRgb:
    """Return the map of a model, fitted at the first call and kept in memory and in the cache folder."""
    if model not in _FITTED:
        kept = cache_dir("previews", f"{key_of(_CACHE_VERSION, model.fingerprint)[:32]}.json")
        try:
            found = read_checked(kept)
            fitted = LatentToRgb(torch.tensor(found["matrix"]), torch.tensor(found["offset"]))
        except BakehouseError:  # not there yet, or damaged: it is fitted again
            fitted = fit_latent_to_rgb(model)
            with writing_to(kept):
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_checked(kept, {"matrix": fitted.matrix.tolist(), "offset": fitted.offset.tolist()})
        _FITTED[model] = fitted
    return _FITTED[model]


@torch.no_grad()
def fit_latent_to_rgb(model: Denoiser) -> LatentToRgb:
    """Fit the map by least squares, for any number of latent channels.

    Synthetic images are encoded; each latent is to give the mean color of the pixels that it stands for.
    """
    pixels = natural_noise(_FIT_IMAGES, _FIT_SIDE * model.downscale)
    encoded = torch.cat([model.encode_image(one[None].to(model.device)).mean.float().cpu() for one in pixels])
    colors = F.avg_pool2d(pixels, model.downscale).movedim(1, -1).reshape(-1, 3)
    latents = encoded.movedim(1, -1).reshape(len(colors), -1)
    rows = torch.cat([latents, torch.ones(len(latents), 1)], dim=1).double()
    # On the CPU, with the driver that takes rows of deficient rank: channels may be redundant.
    solution = torch.linalg.lstsq(rows, colors.double(), driver="gelsd").solution.float()
    return LatentToRgb(solution[:-1].contiguous(), solution[-1].contiguous())


def natural_noise(count: int, side: int) -> Tensor:
    """Return images [count, 3, side, side] in -1..1 with the spectrum of natural images, always the same ones.

    Their amplitude falls as 1/f (Field 1987). Mean color, contrast and the correlation of colors vary.
    """
    generator = torch.Generator().manual_seed(0)
    frequency = torch.fft.fftfreq(side)
    amplitude = 1 / torch.hypot(frequency[:, None], frequency[None, :]).clamp(min=1 / side)
    white = torch.randn(count, 3, side, side, generator=generator)
    waves: Tensor = torch.fft.ifft2(torch.fft.fft2(white) * amplitude).real
    waves = waves - waves.mean(dim=(2, 3), keepdim=True)
    waves = waves / waves.std(dim=(2, 3), keepdim=True)
    gray = torch.rand(count, 1, 1, 1, generator=generator)
    waves = gray * waves[:, :1] + (1 - gray) * waves
    means = torch.rand(count, 3, 1, 1, generator=generator) * 1.6 - 0.8
    contrast = torch.rand(count, 1, 1, 1, generator=generator) * 0.4 + 0.1
    return (means + contrast * waves).clamp(-1, 1)


class Previews:
    """Shows what the network takes for the clean latents, every few steps. Wraps a guider, whose answers it reads."""

    def __init__(
        self, model: Denoiser, guider: Guider, on_preview: OnPreview, *, every: int, steps: int, first: int = 0
    ) -> None:
        """Fit the map.

        Args:
            model: the base model.
            guider: the guider that is wrapped.
            on_preview: called with each preview.
            every: steps between two previews.
            steps: steps in all.
            first: number of the batch's first image.
        """
        self._to_rgb = latent_to_rgb(model)
        self._schedule: NoiseSchedule = model.schedule
        self._guider, self._on_preview = guider, on_preview
        self._every, self._steps, self._first = every, steps, first
        self._last: tuple[Tensor, Tensor, Tensor] | None = None
        self._shown = 0

    def __call__(self, predict: Predict, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the guider's prediction unchanged."""
        pred = self._guider(predict, x_t, t)
        self._last = pred, x_t[:, : pred.shape[1]], t  # an inpainting model's mask and image come after the latents
        return pred

    def show(self, done: int, total: int) -> None:
        """Show a preview if it is due; `done` and `total` count calls of the network. None after the last."""
        step = done * self._steps // max(1, total)
        if self._last is None or done >= total or step // self._every <= self._shown // self._every:
            return
        self._shown = step
        pred, x_t, t = self._last
        # Between two timesteps, as Karras' noise levels are, the nearer one is close enough for a preview.
        t = t.float().round().long().clamp(0, self._schedule.steps - 1)
        x0 = self._schedule.to_x0(pred.float(), x_t.float(), t)
        self._on_preview(self._first, step, self._steps, to_images(self._to_rgb(x0)))
