"""Noise schedules: the signal that is left at timestep t, and what the network predicts (epsilon or v).

Letters as in the papers: x0 clean latents, eps unit noise, x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps.
Epsilon and v prediction are two classes with one interface.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError

PredictionType = Literal["epsilon", "v_prediction"]


class NoiseSchedule(ABC):
    """A discrete schedule of `steps` values of abar (alphas_cumprod), kept in float64 on the CPU."""

    prediction: PredictionType

    def __init__(self, alphas_cumprod: Tensor) -> None:
        self.alphas_cumprod = alphas_cumprod.detach().to("cpu", torch.float64)
        self.unrescaled: NoiseSchedule = self
        """The schedule before it was rescaled to zero terminal SNR."""

    @property
    def steps(self) -> int:
        return len(self.alphas_cumprod)

    def _abar(self, t: Tensor, like: Tensor) -> Tensor:
        abar = self.alphas_cumprod[t.cpu()]
        return abar.to(like.device, torch.float64).view(-1, *[1] * (like.ndim - 1))

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return x_t for clean latents [B, C, h, w], unit noise of the same shape and timesteps [B]."""
        abar = self._abar(t, x0)
        return abar.sqrt().to(x0.dtype) * x0 + (1 - abar).sqrt().to(x0.dtype) * eps

    def snr(self, t: Tensor) -> Tensor:
        """Return abar / (1 - abar) for timesteps [B], float64 on the CPU; 0 at the end of a zero-terminal schedule."""
        abar = self.alphas_cumprod[t.cpu()]
        return abar / (1 - abar)

    @abstractmethod
    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return what the network should output."""

    @abstractmethod
    def to_x0(self, pred: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the clean latents that a prediction implies."""

    @abstractmethod
    def to_eps(self, pred: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the noise that a prediction implies."""

    @abstractmethod
    def x0_weight(self, t: Tensor) -> Tensor:
        """Return w(t) such that squared error on x0 = w(t) x squared error on the prediction; [B], float64 on the CPU.

        Loss weights in the literature are for x0 (min-SNR is min(snr, gamma) there); they are multiplied by this.
        """

    @property
    def is_zero_terminal(self) -> bool:
        """Whether the last timestep is pure noise."""
        return bool(self.alphas_cumprod[-1] == 0)

    def rescaled_to_zero_terminal_snr(self) -> NoiseSchedule:
        """Return the schedule with snr(T) = 0: Lin et al. 2023 (arXiv:2305.08891), algorithm 1. Idempotent."""
        if self.is_zero_terminal:
            return self
        root = self.alphas_cumprod.sqrt()
        first, last = root[0], root[-1]
        root = (root - last) * first / (first - last)
        rescaled = type(self)(root**2)
        rescaled.unrescaled = self
        return rescaled


class EpsilonSchedule(NoiseSchedule):
    """The network predicts the noise that was added (SD 1.x, SDXL)."""

    prediction: PredictionType = "epsilon"

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return eps

    def to_x0(self, pred: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        abar = self._abar(t, x_t)
        return (x_t - (1 - abar).sqrt().to(x_t.dtype) * pred) / abar.sqrt().to(x_t.dtype)

    def to_eps(self, pred: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return pred

    def x0_weight(self, t: Tensor) -> Tensor:
        # The floor avoids 0 x inf at the end of a zero-terminal schedule, where the SNR is 0.
        return 1 / self.snr(t).clamp(min=1e-8)


class VSchedule(NoiseSchedule):
    """The network predicts v = sqrt(abar) eps - sqrt(1 - abar) x0 (SD 2.x 768): Salimans & Ho 2022, appendix D."""

    prediction: PredictionType = "v_prediction"

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        abar = self._abar(t, x0)
        return abar.sqrt().to(x0.dtype) * eps - (1 - abar).sqrt().to(x0.dtype) * x0

    def to_x0(self, pred: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        abar = self._abar(t, x_t)
        return abar.sqrt().to(x_t.dtype) * x_t - (1 - abar).sqrt().to(x_t.dtype) * pred

    def to_eps(self, pred: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        abar = self._abar(t, x_t)
        return abar.sqrt().to(x_t.dtype) * pred + (1 - abar).sqrt().to(x_t.dtype) * x_t

    def x0_weight(self, t: Tensor) -> Tensor:
        return 1 / (self.snr(t) + 1)


def scaled_linear(steps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> Tensor:
    """Return alphas_cumprod of Stable Diffusion: betas linear in their square root."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def make_schedule(prediction: PredictionType, alphas_cumprod: Tensor) -> NoiseSchedule:
    """Return a schedule for a prediction type."""
    return {"epsilon": EpsilonSchedule, "v_prediction": VSchedule}[prediction](alphas_cumprod)


def schedule_from_config(config: Mapping[str, Any]) -> NoiseSchedule:
    """Return the schedule of a diffusers scheduler's settings.

    Raises:
        BakehouseError: an unsupported beta schedule or prediction type.
    """
    steps = int(config.get("num_train_timesteps", 1000))
    start, end = float(config.get("beta_start", 0.00085)), float(config.get("beta_end", 0.012))
    kind = config.get("beta_schedule", "scaled_linear")
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
        alphas_cumprod = torch.cumprod(1 - betas, dim=0)
    elif kind == "scaled_linear":
        alphas_cumprod = scaled_linear(steps, start, end)
    elif kind == "linear":
        alphas_cumprod = torch.cumprod(1 - torch.linspace(start, end, steps, dtype=torch.float64), dim=0)
    else:
        raise BakehouseError(f"beta_schedule = {kind!r} in the scheduler's config: allowed are scaled_linear, linear")
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise BakehouseError(
            f"prediction_type = {prediction!r} in the scheduler's config: allowed are epsilon, v_prediction"
        )
    schedule = make_schedule(prediction, alphas_cumprod)
    return schedule.rescaled_to_zero_terminal_snr() if config.get("rescale_betas_zero_snr") else schedule
