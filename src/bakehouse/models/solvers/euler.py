"""Euler, Heun and their relatives: the ODE of Karras et al. 2022 (arXiv:2206.00364) in plain steps."""

from __future__ import annotations

import torch
from torch import Tensor

from bakehouse.models.sigma_schedules import karras_levels
from bakehouse.models.solvers.coroutine import Query, StepNoise, Steps, ancestral, pairs, slope


def euler(x: Tensor, sigmas: Tensor) -> Steps:
    """Euler's method, algorithm 1 without its correction: x' = x + (sigma' - sigma) d with d = (x - D) / sigma."""
    for sigma, sigma_next in pairs(sigmas):
        x, denoised, _ = yield Query(x, sigma)
        x = x + slope(x, denoised, sigma) * (sigma_next - sigma)
    return x


def euler_ancestral(x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 1.0) -> Steps:
    """An Euler step down to sigma_down, then noise back up to sigma'.

    With eta = 1 it samples DDPM's posterior; in variance-preserving latents it is DDIM (`ddim`).
    """
    for sigma, sigma_next in pairs(sigmas):
        x, denoised, _ = yield Query(x, sigma)
        down, up = ancestral(sigma, sigma_next, eta)
        x = x + slope(x, denoised, sigma) * (down - sigma)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
    return x


def ddim(x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 0.0) -> Steps:
    """DDIM: Song et al. 2020, arXiv:2010.02502, equation 12.

    Divided by sqrt(abar') it reads x' = x0 + sqrt(sigma'^2 - up^2) eps + up z, which is an ancestral Euler step.
    """
    return euler_ancestral(x, sigmas, noise=noise, eta=eta)


def ddim_cfg_pp(x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 0.0) -> Steps:
    """DDIM that renoises with the unguided prediction: Chung et al. 2024, arXiv:2406.08070, algorithm 2.

    x' = x0(guided) + sigma_down eps(negative prompt) + up z.
    """
    for sigma, sigma_next in pairs(sigmas):
        x, denoised, uncond = yield Query(x, sigma)
        if uncond is None:
            raise ValueError("DDIM CFG++ needs the prediction for the negative prompts")
        down, up = ancestral(sigma, sigma_next, eta)
        x = denoised + slope(x, uncond, sigma) * down + noise(sigma, sigma_next) * up
    return x


def heun(x: Tensor, sigmas: Tensor) -> Steps:
    """Euler's step, corrected by the mean of the slopes at both ends: algorithm 1. The last step, to 0, is Euler's."""
    for sigma, sigma_next in pairs(sigmas):
        x = yield from _heun_step(x, sigma, sigma_next)
    return x


def _heun_step(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Steps:
    x, denoised, _ = yield Query(x, sigma)
    d = slope(x, denoised, sigma)
    predicted = x + d * (sigma_next - sigma)
    if sigma_next == 0:
        return predicted
    predicted, denoised, _ = yield Query(predicted, sigma_next)
    return x + (d + slope(predicted, denoised, sigma_next)) / 2 * (sigma_next - sigma)


def lcm(x: Tensor, sigmas: Tensor, *, noise: StepNoise) -> Steps:
    """LCM: x' = x0 + sigma' z. A consistency model gives x0 at once, and new noise brings it to the next level.

    Luo et al. 2023, arXiv:2310.04378, algorithm 3.
    """
    for sigma, sigma_next in pairs(sigmas):
        _, x, _ = yield Query(x, sigma)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * sigma_next
    return x


_RESTART_FROM, _RESTART_TO = 0.1, 2.0
"""Noise levels between which A1111 goes back and forth."""


def restart(x: Tensor, sigmas: Tensor, *, noise: StepNoise) -> Steps:
    """Heun's method that goes back up with new noise and down again: Xu et al. 2023, arXiv:2306.14878, algorithm 1.

    How often is A1111's choice: not at all below 20 steps, once below 36, twice from there on. The number of steps
    stays what it was, so the way down gets fewer.
    """
    last: Tensor | None = None
    for sigma, sigma_next in _restart_steps(sigmas):
        if last is not None and last < sigma:
            x = x + noise(last, sigma) * (sigma**2 - last**2) ** 0.5
        x = yield from _heun_step(x, sigma, sigma_next)
        last = sigma_next
    return x


def _restart_steps(sigmas: Tensor) -> list[tuple[Tensor, Tensor]]:
    n = len(sigmas) - 1
    if n < 20:
        return list(pairs(sigmas))
    steps_back, times = (n // 4, 2) if n >= 36 else (9, 1)
    down = karras_levels(n - steps_back * times, float(sigmas[-2]), float(sigmas[0]))
    down = torch.cat([down, down.new_zeros(1)])
    low, high = (int((down - level).abs().argmin()) for level in (_RESTART_FROM, _RESTART_TO))
    if high >= low:
        return list(pairs(down))
    again = karras_levels(steps_back + 1, float(down[low]), float(down[high]))
    return [*pairs(down[: low + 1]), *(pair for _ in range(times) for pair in pairs(again)), *pairs(down[low:])]
