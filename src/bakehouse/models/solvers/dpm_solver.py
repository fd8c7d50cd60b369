"""DPM-Solver: exponential integrators on the prediction of noise. Lu et al. 2022, arXiv:2206.00927.

With lambda = -log sigma and latents in sigma space, its equation 3.4 reads x' = x - sigma' integral(e^(h - u) eps du).
"""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
from torch import Tensor

from bakehouse.models.solvers.coroutine import (
    Answer,
    Query,
    StepNoise,
    Steps,
    ancestral,
    at_half_log_snr,
    half_log_snr,
    pairs,
    slope,
)


def dpm2(x: Tensor, sigmas: Tensor) -> Steps:
    """The slope at the geometric mean of both levels, for the whole step; the last step, to 0, is Euler's.

    Karras et al.'s ODE with the midpoint of DPM-Solver-2 (algorithm 1 there).
    """
    for sigma, sigma_next in pairs(sigmas):
        x = yield from _midpoint_step(x, sigma, sigma_next)
    return x


def dpm2_ancestral(x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 1.0) -> Steps:
    """`dpm2` down to sigma_down, then noise back up to sigma'."""
    for sigma, sigma_next in pairs(sigmas):
        down, up = ancestral(sigma, sigma_next, eta)
        x = yield from _midpoint_step(x, sigma, down)
        if down > 0:
            x = x + noise(sigma, sigma_next) * up
    return x


def _midpoint_step(x: Tensor, sigma: Tensor, target: Tensor) -> Steps:
    x, denoised, _ = yield Query(x, sigma)
    d = slope(x, denoised, sigma)
    if target == 0:
        return x + d * (target - sigma)
    middle = sigma.log().lerp(target.log(), 0.5).exp()
    x_middle, denoised, _ = yield Query(x + d * (middle - sigma), middle)
    return x + slope(x_middle, denoised, middle) * (target - sigma)


Eps = Generator[Query, Answer, tuple[Tensor, Tensor]]


def _eps(x: Tensor, t: Tensor) -> Eps:
    """Ask for the noise in x at lambda = t; return x as it was denoised, and the noise."""
    sigma = at_half_log_snr(t)
    x, denoised, _ = yield Query(x, sigma)
    return x, slope(x, denoised, sigma)


def _first_order(x: Tensor, eps: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """DPM-Solver-1 (equation 3.7): DDIM's step."""
    return x - at_half_log_snr(t_next) * (t_next - t).expm1() * eps


def _second_order(x: Tensor, eps: Tensor, eps_1: Tensor, t: Tensor, t_next: Tensor, r1: float) -> Tensor:
    """DPM-Solver-2 (algorithm 4 of its appendix), with `eps_1` at t + r1 h."""
    return _first_order(x, eps, t, t_next) - at_half_log_snr(t_next) / (2 * r1) * (t_next - t).expm1() * (eps_1 - eps)


def _third_order(
    x: Tensor, eps: Tensor, eps_1: Tensor, t: Tensor, t_next: Tensor, r1: float = 1 / 3, r2: float = 2 / 3
) -> Steps:
    """DPM-Solver-3 (algorithm 2), with `eps_1` at t + r1 h; asks once more, at t + r2 h."""
    h = t_next - t
    s2 = t + r2 * h
    bent = (r2 / r1) * ((r2 * h).expm1() / (r2 * h) - 1)
    x_2 = _first_order(x, eps, t, s2) - at_half_log_snr(s2) * bent * (eps_1 - eps)
    _, eps_2 = yield from _eps(x_2, s2)
    return _first_order(x, eps, t, t_next) - at_half_log_snr(t_next) / r2 * (h.expm1() / h - 1) * (eps_2 - eps)


def _noisy_target(t: Tensor, t_next: Tensor, t_end: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Return the lambda to solve to, not beyond the end, and the noise that leads back up to that of `t_next`."""
    if not eta:
        return t_next, torch.zeros(())
    sigma_next = at_half_log_snr(t_next)
    down, _ = ancestral(at_half_log_snr(t), sigma_next, eta)
    target = torch.minimum(t_end, half_log_snr(down))
    return target, (sigma_next**2 - at_half_log_snr(target) ** 2) ** 0.5


def dpm_fast(x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 1.0) -> Steps:
    """DPM-Solver-fast (section 3.4): third-order steps, evenly spaced in lambda, for n calls of the network in all.

    Of `sigmas` [n + 1] only the first, the last, which is above 0, and their number count.
    """
    n = len(sigmas) - 1
    t_end = half_log_snr(sigmas[-1])
    times = torch.linspace(float(half_log_snr(sigmas[0])), float(t_end), n // 3 + 2)
    orders = [3] * (n // 3 - 1) + [2, 1] if n % 3 == 0 else [3] * (n // 3) + [n % 3]
    for order, (t, t_next) in zip(orders, pairs(times), strict=True):
        target, up = _noisy_target(t, t_next, t_end, eta)
        x, eps = yield from _eps(x, t)
        if order == 1:
            x = _first_order(x, eps, t, target)
        else:
            r1 = 1 / 2 if order == 2 else 1 / 3
            s1 = t + r1 * (target - t)
            _, eps_1 = yield from _eps(_first_order(x, eps, t, s1), s1)
            if order == 2:
                x = _second_order(x, eps, eps_1, t, target, r1)
            else:
                x = yield from _third_order(x, eps, eps_1, t, target)
        x = x + noise(at_half_log_snr(t), at_half_log_snr(t_next)) * up
    return x


_RELATIVE, _ABSOLUTE = 0.05, 0.0078
"""Tolerances of the adaptive steps (appendix C): 0.0078 is a level of an 8-bit image in -1..1."""
_FIRST_H = 0.05
_ACCEPT = 0.81


def dpm_adaptive(x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 1.0) -> Steps:
    """DPM-Solver-23: steps as long as second and third order agree (appendix C). x has one image, B = 1.

    Of `sigmas` only the first and the last, which is above 0, count. The next step's length is the last one's, times a
    bounded function of 1 / error; a step after which it would be less than 0.81 of it is tried again.
    """
    if len(x) != 1:
        raise ValueError("the steps depend on the image: DPM adaptive takes one at a time")
    t, t_end = half_log_snr(sigmas[0]), half_log_snr(sigmas[-1])
    h = _FIRST_H
    before = x
    while t < t_end - 1e-5:
        t_next = torch.minimum(t_end, t + h)
        target, up = _noisy_target(t, t_next, t_end, eta)
        x, eps = yield from _eps(x, t)
        s1 = t + 1 / 3 * (target - t)
        _, eps_1 = yield from _eps(_first_order(x, eps, t, s1), s1)
        low = _second_order(x, eps, eps_1, t, target, 1 / 3)
        high = yield from _third_order(x, eps, eps_1, t, target)
        allowed = (_RELATIVE * torch.maximum(low.abs(), before.abs())).clamp(min=_ABSOLUTE)
        error = float(((low - high) / allowed).square().mean().sqrt())
        order = 1.5 if eta else 3
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / order) - 1)
        h *= factor
        if factor >= _ACCEPT:
            before = low
            x = high + noise(at_half_log_snr(t), at_half_log_snr(t_next)) * up
            t = t_next
    return x
