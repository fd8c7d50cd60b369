"""The denoising loss: how far the prediction is from its target, per sample."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.core.errors import Problems
from bakehouse.core.setting_needs import Needs, is_on, one_of
from bakehouse.core.settings import Spec
from bakehouse.data.fact_names import MASKS
from bakehouse.losses.batch import Batch, LossFn
from bakehouse.losses.noise import NoiseSpec
from bakehouse.losses.weighting import SMALLEST_SNR, WeightingSpec
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.noise_schedule import NoiseSchedule

_HUBER = Needs(one_of("kind", "huber", "smooth_l1"))
_MASKED = (Needs(is_on("masked")), Needs(is_on(MASKS)))
_WHOLE = Needs(at=(1.0,), otherwise="learns every picture whole, as if there were no masks")


class LossSpec(Spec):
    kind: Literal["l2", "l1", "huber", "smooth_l1"] = "l2"
    """Squared error; absolute error; pseudo-Huber 2c(sqrt(d^2 + c^2) - c); or smooth L1 2(sqrt(d^2 + c^2) - c)."""
    huber_c: Annotated[float, Field(gt=0, le=10_000), _HUBER] = 0.1
    """Where the loss turns from square to straight."""
    huber_schedule: Annotated[Literal["constant", "exponential", "snr"], _HUBER] = "snr"
    """How c changes with the timestep: not, exp(t ln(c) / T), or (1 - c) / (1 + sigma_t)^2 + c."""
    huber_scale: Annotated[float, Field(gt=0, le=10_000), _HUBER] = 1.0
    """Times c, in every schedule."""
    weighting: WeightingSpec = WeightingSpec()
    masked: bool = True
    """Use masks where images have them: only what is white is learned."""
    mask_average: Annotated[Literal["mask", "picture"], *_MASKED] = "mask"
    """What a masked loss is divided by: the mask's area, so that a small subject learns as fast as a large one; or the
    whole picture's, as kohya divides, and OneTrainer without normalize_masked_area_loss."""
    unmasked_weight: Annotated[float, Field(ge=0, le=1), *_MASKED, _WHOLE] = 0.0
    """What the masked-out rest of a picture counts, so that a subject keeps its place in the whole."""
    unmasked_probability: Annotated[float, Field(ge=0, le=1), *_MASKED, _WHOLE] = 0.0
    """Share of the shows in which a picture is learned whole, mask or not."""

    def elementwise(self, pred: Tensor, target: Tensor, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """Error of each element, [B, C, h, w]."""
        difference = pred - target
        if self.kind == "l2":
            return difference.square()
        if self.kind == "l1":
            return difference.abs()
        c = self._c(schedule, t).to(pred.device, pred.dtype).view(-1, 1, 1, 1)
        pseudo = (difference.square() + c.square()).sqrt() - c
        return 2 * c * pseudo if self.kind == "huber" else 2 * pseudo

    def _c(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """C for each timestep [B], float64 on the CPU (Khrapov et al. 2024, arXiv:2403.16728)."""
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

    def seen(self, mask: Tensor | None, generator: torch.Generator) -> Tensor | None:
        """What each pixel counts [B, 1, h, w], or None where all count the same."""
        if mask is None or not self.masked:
            return None
        if self.unmasked_weight:
            mask = mask + (1 - mask) * self.unmasked_weight
        if self.unmasked_probability:
            whole = torch.rand(len(mask), 1, 1, 1, generator=generator) < self.unmasked_probability
            mask = mask.masked_fill(whole.to(mask.device), 1.0)
        return mask


def per_sample(error: Tensor, mask: Tensor | None, average: Literal["mask", "picture"] = "mask") -> Tensor:
    """Mean over each sample's elements, [B]. With a mask, the mean over the masked area alone.

    Dividing by the mask's area keeps a small subject's gradient as large as a big one's; a mean over all pixels,
    `average = "picture"`, gives a 10 % mask a tenth of the learning rate.
    """
    if mask is None:
        return error.mean(dim=(1, 2, 3))
    mask = mask.expand_as(error)
    if average == "picture":
        return (error * mask).mean(dim=(1, 2, 3))
    return (error * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp(min=1e-6)


@torch.no_grad()
def base_prediction(model: Denoiser, adapter: Adapter, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
    """What the base says without the adapter, [B, C, h, w] in fp32: the gentlest teacher of what shall stay.

    The noise that was really added would pull the model towards the class images themselves, which were drawn with
    guidance and are too bright; the base's own prediction is where the model is now, so only what drifts is pulled.
    """
    with adapter.scaled(0.0):
        return model(x_t, t.to(x_t.device), cond).float()  # type: ignore[no-any-return]


def denoising_loss(loss: LossSpec, noise: NoiseSpec, schedule: NoiseSchedule) -> LossFn:
    """The loss of one denoising step; `schedule` is the model's, rescaled already where the recipe asks for it.

    Raises:
        Problems: settings that mean nothing for what this model predicts.
    """
    unfit = list(unfit_for(loss, noise, schedule))
    if unfit:
        raise Problems(f"this model predicts {schedule.prediction}:", unfit)

    def compute(model: Denoiser, adapter: Adapter, batch: Batch, generator: torch.Generator) -> Tensor:
        t = noise.draw_timesteps(schedule, len(batch.latents), generator)
        eps = noise.draw(batch.latents, generator)
        x_t = schedule.add_noise(batch.latents, noise.perturbed(eps, generator), t)
        pred = model(x_t, t.to(x_t.device), batch.cond).float()
        target = schedule.target(batch.latents, eps, t).float()
        if batch.base_cond is not None:
            rows = batch.is_prior.to(x_t.device)
            target = target.clone()
            target[rows] = base_prediction(model, adapter, x_t[rows], t[batch.is_prior], batch.base_cond)
        error = loss.elementwise(pred, target, schedule, t)
        weight = loss.weighting(schedule, t).to(error.device, error.dtype)
        return per_sample(error, loss.seen(batch.mask, generator), loss.mask_average) * weight

    return compute


def unfit_for(loss: LossSpec, noise: NoiseSpec, schedule: NoiseSchedule) -> Iterator[str]:
    """Settings that mean nothing for what a model predicts: one sentence each, with the remedy."""
    if schedule.prediction == "epsilon" and noise.zero_terminal_snr:
        yield (
            "noise.zero_terminal_snr = true needs a v-prediction model, and this one predicts epsilon: at snr 0 the "
            "input is the noise itself, and predicting it teaches nothing; leave it out"
        )
    if schedule.prediction == "v_prediction" and loss.weighting.v_pred_like:
        share = loss.weighting.v_pred_like
        yield (
            f"loss.weighting.v_pred_like = {share:g} adds a v-prediction loss to an epsilon loss, and this model "
            "predicts v already: leave it out"
        )
