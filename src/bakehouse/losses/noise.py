"""Noise: what is added to the latents, and at which timesteps."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from bakehouse.core.setting_needs import Needs, PlanFact, is_off, is_on
from bakehouse.core.settings import Spec
from bakehouse.losses.timesteps import TimestepSpec
from bakehouse.models.noise_schedule import NoiseSchedule

ENDS_WITH_SIGNAL = PlanFact("model.ends_with_signal", "a model whose own schedule ends above zero SNR")
_OFFSET, _PYRAMID = Needs(is_on("offset")), Needs(is_on("pyramid_iterations"))
_MOVES_THE_MEAN = Needs(
    is_off("zero_terminal_snr"), otherwise="shifts an image's mean a second time, too dark or too bright,"
)


class NoiseSpec(Spec):
    """All off by default: plain unit noise at uniform timesteps."""

    offset: Annotated[float, Field(ge=0, le=1), _MOVES_THE_MEAN] = 0.0
    """Strength of a constant per channel that is added to the noise, so that the brightness of images can change."""
    offset_random_strength: Annotated[bool, _OFFSET] = False
    """Draw the strength of the offset from 0..offset for each sample."""
    offset_adaptive: Annotated[float, Field(ge=-100, le=100), _OFFSET] = 0.0
    """Added to the offset's strength times the latents' absolute channel mean."""
    pyramid_iterations: Annotated[int, Field(ge=0, le=10), _MOVES_THE_MEAN] = 0
    """Number of sizes at which noise is added, from the full size to ever coarser ones (multi-resolution noise, kohya's
    multires_noise_iterations); 6 to 8 are usual, 0 is off."""
    pyramid_discount: Annotated[float, Field(gt=0, lt=1), _PYRAMID] = 0.3
    """Weight of each size relative to the one before."""
    pyramid_random_strength: Annotated[bool, _PYRAMID] = False
    """Draw the discount from 0..pyramid_discount for each sample."""
    ip_gamma: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Input perturbation (Ning et al. 2023): x_t is made with eps + gamma xi, the target is eps; 0.1 is usual."""
    ip_random_strength: Annotated[bool, Needs(is_on("ip_gamma"))] = False
    """Draw gamma from 0..ip_gamma for each sample."""
    zero_terminal_snr: Annotated[bool, Needs(is_on(ENDS_WITH_SIGNAL))] = False
    """Rescale the schedule so that the last timestep is pure noise (Lin et al. 2023); for v-prediction models."""
    min_timestep: Annotated[int, Field(ge=0, le=999)] = 0
    max_timestep: Annotated[
        int,
        Field(ge=1, le=1000),
        Needs(is_off("zero_terminal_snr"), otherwise="leaves out the timesteps that are pure noise"),
    ] = 1000
    """Timesteps are drawn from min_timestep <= t < max_timestep."""
    timesteps: TimestepSpec = TimestepSpec()
    """The density that they are drawn from."""

    @model_validator(mode="after")
    def _range(self) -> NoiseSpec:
        if self.min_timestep >= self.max_timestep:
            raise ValueError(f"min_timestep {self.min_timestep} must be below max_timestep {self.max_timestep}")
        self.timesteps.probabilities(self.min_timestep, self.max_timestep)
        return self

    def draw_timesteps(self, schedule: NoiseSchedule, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` timesteps, int64 on the CPU."""
        high = min(self.max_timestep, schedule.steps)
        return self.timesteps.draw(self.min_timestep, high, count, generator)

    def draw(self, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Draw noise eps of the latents' shape [B, C, h, w]; on the CPU, so that every device gets the same."""
        eps = torch.randn(latents.shape, generator=generator)
        if self.offset:
            eps = eps + self._offset(latents, generator)
        if self.pyramid_iterations:
            eps = self._pyramid(eps, generator)
        return eps.to(latents.device, latents.dtype)

    def perturbed(self, eps: Tensor, generator: torch.Generator) -> Tensor:
        """Return the noise that x_t is made with: eps, or eps + gamma xi with input perturbation."""
        if not self.ip_gamma:
            return eps
        strength = self._strength(self.ip_gamma, self.ip_random_strength, len(eps), generator)
        xi = torch.randn(eps.shape, generator=generator)
        return eps + (strength * xi).to(eps.device, eps.dtype)

    @staticmethod
    def _strength(value: float, at_random: bool, count: int, generator: torch.Generator) -> Tensor:
        drawn = torch.rand(count, generator=generator) if at_random else torch.ones(count)
        return (value * drawn).view(-1, 1, 1, 1)

    def _offset(self, latents: Tensor, generator: torch.Generator) -> Tensor:
        strength = self._strength(self.offset, self.offset_random_strength, len(latents), generator)
        if self.offset_adaptive:
            mean = latents.float().mean(dim=(2, 3), keepdim=True).abs().cpu()
            strength = (strength + self.offset_adaptive * mean).clamp(min=0)
        return strength * torch.randn(*latents.shape[:2], 1, 1, generator=generator)

    def _pyramid(self, eps: Tensor, generator: torch.Generator) -> Tensor:
        """Add multi-resolution noise (Whitaker 2023), and normalise each sample to unit standard deviation.

        The first size is the full one, so that fine noise counts twice, as in the author's code and kohya's. Both
        divide by the deviation of the whole batch; here a sample does not depend on the others.
        """
        h, w = eps.shape[-2:]
        discount = self._strength(self.pyramid_discount, self.pyramid_random_strength, len(eps), generator)
        for i in range(self.pyramid_iterations):
            ratio = float(torch.rand((), generator=generator)) * 2 + 2
            size = (max(1, int(h / ratio**i)), max(1, int(w / ratio**i)))
            coarse = torch.randn(*eps.shape[:2], *size, generator=generator)
            eps = eps + F.interpolate(coarse, (h, w), mode="bilinear") * discount**i
            if 1 in size:
                break
        return eps / eps.std(dim=(1, 2, 3), keepdim=True)
