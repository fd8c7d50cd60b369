"""The noise levels sigma of a model's timesteps, and conversion between the two, for solvers in sigma space.

In sigma space latents are x = x0 + sigma eps (Karras et al. 2022, arXiv:2206.00364, table 1): the network's
x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps, divided by sqrt(abar_t), with sigma = sqrt((1 - abar_t) / abar_t).
Everything is float32 as in A1111 and k-diffusion: the noise of SDE samplers depends on the last digits of sigma.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from bakehouse.models.noise_schedule import NoiseSchedule

_SMALLEST_ABAR = 4.8973451890853435e-08
"""What A1111 puts in place of abar = 0 at the end of a zero-terminal-SNR schedule; its sigma is 4518.8."""

LCM_STEPS = 50
"""Timesteps that latent consistency models are distilled on: 19, 39, ..., 999 of 1000."""


class SigmaTable:
    """A model's noise levels at some of its timesteps, and log-linear interpolation between them."""

    def __init__(self, sigmas: Tensor, timesteps: Tensor) -> None:
        """Wrap `sigmas` [N], ascending, at `timesteps` [N], evenly spaced."""
        self.sigmas = sigmas.float()
        self._first = int(timesteps[0])
        self._spacing = int(timesteps[1] - timesteps[0])

    @classmethod
    def of(cls, schedule: NoiseSchedule) -> SigmaTable:
        """Return all noise levels of a model's schedule."""
        abar = schedule.alphas_cumprod.clamp(min=_SMALLEST_ABAR).float()
        return cls(((1 - abar) / abar) ** 0.5, torch.arange(len(abar)))

    @classmethod
    def for_lcm(cls, schedule: NoiseSchedule) -> SigmaTable:
        """Return the noise levels that latent consistency models know (Luo et al. 2023, arXiv:2310.04378)."""
        every = cls.of(schedule).sigmas
        spacing = max(1, len(every) // LCM_STEPS)
        timesteps = torch.arange(spacing - 1, len(every), spacing)
        return cls(every[timesteps], timesteps)

    @cached_property
    def log_sigmas(self) -> Tensor:
        """Natural logarithms of the noise levels, [N]."""
        return self.sigmas.log()

    @property
    def smallest(self) -> float:
        return float(self.sigmas[0])

    @property
    def largest(self) -> float:
        return float(self.sigmas[-1])

    def timestep(self, sigma: Tensor, *, nearest: bool = False) -> Tensor:
        """Return the timestep of a noise level [], interpolated between the table's, or the nearest one of them.

        Noise levels outside the table get its first or last timestep.
        """
        distances = sigma.log() - self.log_sigmas
        if nearest:
            index = distances.abs().argmin().float()
        else:
            low = distances.ge(0).sum().sub(1).clamp(0, max(0, len(self.sigmas) - 2))
            start, end = self.log_sigmas[low], self.log_sigmas[low + 1]
            share = ((start - sigma.log()) / (start - end)).clamp(0, 1)
            index = (1 - share) * low + share * (low + 1)
        return index * self._spacing + self._first

    def sigma(self, timestep: Tensor) -> Tensor:
        """Return the noise levels at timesteps [...], between the table's by interpolation of their logarithms."""
        index = ((timestep.float() - self._first) / self._spacing).clamp(0, len(self.sigmas) - 1)
        low, high, share = index.floor().long(), index.ceil().long(), index.frac()
        return ((1 - share) * self.log_sigmas[low] + share * self.log_sigmas[high]).exp()
