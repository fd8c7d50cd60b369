"""The denoising loss: the error of the model's prediction, per sample."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.core.errors import Problems
from bakehouse.core.setting_needs import Needs, is_on, one_of
from bakehouse.core.settings import Spec
from bakehouse.data.plan_fact_names import MASKS
from bakehouse.losses.batch import Batch
from bakehouse.losses.noise import NoiseSpec
from bakehouse.losses.weighting import SMALLEST_SNR, WeightingSpec
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.noise_schedule import NoiseSchedule

_HUBER = Needs(one_of("kind", "huber", "smooth_l1"))
_MASKED = (Needs(is_on("masked")), Needs(is_on(MASKS)))
_WHOLE = Needs(at=(1.0,), otherwise="trains on every image as a whole, as if there were no masks")


class LossSpec(Spec):
    kind: Literal["l2", "l1", "huber", "smooth_l1"] = "l2"
    """Squared error; absolute error; pseudo-Huber 2c(sqrt(d^2 + c^2) - c); or smooth L1 2(sqrt(d^2 + c^2) - c)."""
    huber_c: Annotated[float, Field(gt=0, le=10_000), _HUBER] = 0.1
    """The error c at which the loss turns from quadratic to linear."""
    huber_schedule: Annotated[Literal["constant", "exponential", "snr"], _HUBER] = "snr"
    """How c depends on the timestep: not at all, exp(t ln(c) / T), or (1 - c) / (1 + sigma_t)^2 + c."""
    huber_scale: Annotated[float, Field(gt=0, le=10_000), _HUBER] = 1.0
    """Factor of c, in every schedule."""
    weighting: WeightingSpec = WeightingSpec()
    masked: bool = True
    """Use the masks of images that have them: only white areas are trained on."""
    mask_average: Annotated[Literal["mask", "image"], *_MASKED] = "mask"
    """What a masked loss is divided by: the mask's area, so that a small subject is learned as fast as a large one; or
    that of the whole image, as in kohya, and in OneTrainer without normalize_masked_area_loss."""
    unmasked_weight: Annotated[float, Field(ge=0, le=1), *_MASKED, _WHOLE] = 0.0
    """Weight of the masked-out rest of an image, so that the subject keeps its place in the scene."""
    unmasked_probability: Annotated[float, Field(ge=0, le=1), *_MASKED, _WHOLE] = 0.0
    """Share of the samples in which a masked image is trained on as a whole."""

    def elementwise(self, pred: Tensor, target: Tensor, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """Return the error of each element, [B, C, h, w]."""
        difference = pred - target
        if self.kind == "l2":
            return difference.square()
        if self.kind == "l1":
            return difference.abs()
        c = self._c(schedule, t).to(pred.device, pred.dtype).view(-1, 1, 1, 1)
        pseudo = (difference.square() + c.square()).sqrt() - c
        return 2 * c * pseudo if self.kind == "huber" else 2 * pseudo

    def _c(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """Return c for each timestep [B], float64 on the CPU (Khrapov et al. 2024, arXiv:2403.16728)."""
        t = t.cpu()
        match self.huber_schedule:
            case "constant":
                c = torch.full((len(t),), self.huber_c, dtype=torch.float64)
            case "exponential":
                c = torch.exp(t.double() * math.log(self.huber_c) / schedule.steps)
            case "snr":
                sigma = schedule.snr(t).clamp(min=SMALLEST_SNR).rsqrt()
                c = (1 - self.huber_c) / (1 + sigma).square() + self.huber_c
        return self.huber_scale * c

    def effective_mask(self, mask: Tensor | None, generator: torch.Generator) -> Tensor | None:
        """Return each pixel's weight [B, 1, h, w], or None where all weigh the same."""
        if mask is None or not self.masked:
            return None
        if self.unmasked_weight:
            mask = mask + (1 - mask) * self.unmasked_weight
        if self.unmasked_probability:
            whole = torch.rand(len(mask), 1, 1, 1, generator=generator) < self.unmasked_probability
            mask = mask.masked_fill(whole.to(mask.device), 1.0)
        return mask


def per_sample(error: Tensor, mask: Tensor | None, average: Literal["mask", "image"] = "mask") -> Tensor:
    """Return the mean over each sample's elements, [B]; with a mask, the mean over the masked area alone.

    Dividing by the mask's area keeps a small subject's gradient as large as a big one's; a mean over all pixels,
    `average = "image"`, divides the gradient of a 10 % mask by ten.
    """
    if mask is None:
        return error.mean(dim=(1, 2, 3))
    mask = mask.expand_as(error)
    if average == "image":
        return (error * mask).mean(dim=(1, 2, 3))
    return (error * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp(min=1e-6)


@torch.no_grad()
def base_prediction(model: Denoiser, adapter: Adapter, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
    """Return what the base predicts without the adapter, [B, C, h, w] in fp32: a target that keeps the class.

    The noise that was really added would pull the model towards the class images themselves, which were generated with
    guidance and are too bright; the base's own prediction is where the model started, so only drift is corrected.
    """
    with adapter.scaled(0.0):
        return model(x_t, t.to(x_t.device), cond).float()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Prediction:
    """What a model predicted from noisy latents."""

    values: Tensor
    """[B, C, h, w], fp32."""
    x_t: Tensor
    """The noisy latents, [B, C, h, w]."""
    eps: Tensor
    """The noise in them, before input perturbation, [B, C, h, w]."""
    t: Tensor
    """Timesteps, [B] int64 on the CPU."""


@dataclass(frozen=True)
class DenoisingLoss:
    """The loss of one denoising step; `schedule` is the model's, rescaled already where the recipe asks for it.

    Raises:
        Problems: settings that the model's prediction type rules out.
    """

    spec: LossSpec
    noise: NoiseSpec
    schedule: NoiseSchedule

    def __post_init__(self) -> None:
        problems = list(incompatible_settings(self.spec, self.noise, self.schedule))
        if problems:
            raise Problems(f"this model predicts {self.schedule.prediction}:", problems)

    def __call__(self, model: Denoiser, adapter: Adapter, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return one loss per sample, [B], before `Batch.weight`; all randomness comes from `generator`."""
        prediction = self.predict(model, batch, generator)
        target = self.schedule.target(batch.latents, prediction.eps, prediction.t).float()
        if batch.base_cond is not None:
            rows = batch.is_prior.to(prediction.x_t.device)
            target = target.clone()
            target[rows] = base_prediction(
                model, adapter, prediction.x_t[rows], prediction.t[batch.is_prior], batch.base_cond
            )
        return self.error(prediction, target, self.spec.effective_mask(batch.mask, generator))

    def predict(self, model: Denoiser, batch: Batch, generator: torch.Generator, *, perturb: bool = True) -> Prediction:
        """Draw timesteps and noise, and return the model's prediction from the noisy latents.

        `perturb`: whether the recipe's input perturbation is added to the noise.
        """
        t = self.noise.draw_timesteps(self.schedule, len(batch.latents), generator)
        eps = self.noise.draw(batch.latents, generator)
        x_t = self.schedule.add_noise(batch.latents, self.noise.perturbed(eps, generator) if perturb else eps, t)
        return Prediction(model(x_t, t.to(x_t.device), batch.cond).float(), x_t, eps, t)

    def error(self, prediction: Prediction, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return each sample's weighted error [B] against `target` [B, C, h, w]; `mask` as `effective_mask` returns."""
        error = self.spec.elementwise(prediction.values, target, self.schedule, prediction.t)
        weight = self.spec.weighting(self.schedule, prediction.t).to(error.device, error.dtype)
        return per_sample(error, mask, self.spec.mask_average) * weight


def incompatible_settings(loss: LossSpec, noise: NoiseSpec, schedule: NoiseSchedule) -> Iterator[str]:
    """Yield one sentence, with its remedy, for each setting that the model's prediction type rules out."""
    if schedule.prediction == "epsilon" and noise.zero_terminal_snr:
        yield (
            "noise.zero_terminal_snr = true needs a v-prediction model, and this one predicts epsilon: at SNR 0 the "
            "input is the noise itself, and predicting it teaches nothing; leave it out"
        )
    if schedule.prediction == "v_prediction" and loss.weighting.v_pred_like:
        share = loss.weighting.v_pred_like
        yield (
            f"loss.weighting.v_pred_like = {share:g} adds a v-prediction loss to an epsilon loss, and this model "
            "predicts v already: leave it out"
        )
