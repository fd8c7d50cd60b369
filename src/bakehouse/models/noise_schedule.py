"""The noise schedule: how much of a picture is left at timestep t, and what the network is asked to say about it.

Letters as in the papers: x0 clean latents, eps unit noise, x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps.
Epsilon and v prediction are two classes with one face, so that nobody outside asks which it is.
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
        """The schedule as it was before it was rescaled to a terminal snr of 0."""

    @property
    def steps(self) -> int:
        return len(self.alphas_cumprod)

    def _abar(self, t: Tensor, like: Tensor) -> Tensor:
        abar = self.alphas_cumprod[t.cpu()]
        return abar.to(like.device, torch.float64).view(-1, *[1] * (like.ndim - 1))

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t for clean latents [B, C, h, w], unit noise of that shape and timesteps [B]."""
        abar = self._abar(t, x0)
        return abar.sqrt().to(x0.dtype) * x0 + (1 - abar).sqrt().to(x0.dtype) * eps

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio abar / (1 - abar) for timesteps [B], float64 on the CPU; 0 at a zero-terminal end."""
        abar = self.alphas_cumprod[t.cpu()]
        return abar / (1 - abar)

    @abstractmethod
    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the network should output."""

    @abstractmethod
    def to_x0(self, pred: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The clean latents that a prediction implies."""

    @abstractmethod
    def to_eps(self, pred: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The noise that a prediction implies."""

    @abstractmethod
    def x0_weight(self, t: Tensor) -> Tensor:
        """w(t) such that squared error on x0 = squared error on the prediction x w(t); [B], float64 on the CPU.

        Weights of the literature are given for x0 (min-SNR is min(snr, gamma) there) and multiplied by this.
        """

    @property
    def is_zero_terminal(self) -> bool:
        """Whether nothing of a picture is left at the last timestep."""
        return bool(self.alphas_cumprod[-1] == 0)

    def rescaled_to_zero_terminal_snr(self) -> NoiseSchedule:
        """The same schedule with snr(T) = 0: Lin et al. 2023 (arXiv:2305.08891), algorithm 1. Itself where it is so."""
        if self.is_zero_terminal:
            return self
        root = self.alphas_cumprod.sqrt()
        first, last = root[0], root[-1]
        root = (root - last) * first / (first - last)
        rescaled = type(self)(root**2)
        rescaled.unrescaled = self
        return rescaled


class EpsilonSchedule(NoiseSchedule):
    """The network says which noise was added (SD 1.x, SDXL)."""

    prediction: PredictionType = "epsilon"

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return eps

    def to_x0(self, pred: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        abar = self._abar(t, x_t)
        return (x_t - (1 - abar).sqrt().to(x_t.dtype) * pred) / abar.sqrt().to(x_t.dtype)

    def to_eps(self, pred: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return pred

    def x0_weight(self, t: Tensor) -> Tensor:
        # The floor keeps 0 x inf out of the products where a zero-terminal schedule ends with snr 0.
        return 1 / self.snr(t).clamp(min=1e-8)


class VSchedule(NoiseSchedule):
    """The network says v = sqrt(abar) eps - sqrt(1 - abar) x0 (SD 2.x 768): Salimans & Ho 2022, appendix D."""

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
    """alphas_cumprod of Stable Diffusion: betas linear in their square root."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def make_schedule(prediction: PredictionType, alphas_cumprod: Tensor) -> NoiseSchedule:
    """The schedule class for a prediction type."""
    return {"epsilon": EpsilonSchedule, "v_prediction": VSchedule}[prediction](alphas_cumprod)


def schedule_from_config(config: Mapping[str, Any]) -> NoiseSchedule:
    """The schedule that a diffusers scheduler's settings describe.

    Raises:
        BakehouseError: a kind of betas or prediction that is not known here.
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
