"""UniPC: a multistep predictor whose corrector uses the next prediction. Zhao et al. 2023, arXiv:2302.04867."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bakehouse.models.solvers.coroutine import Query, Steps, half_log_snr


@dataclass(frozen=True)
class _Known:
    """A prediction of x0 and where it was made."""

    lam: Tensor
    denoised: Tensor


def unipc(x: Tensor, sigmas: Tensor, *, timesteps: Sequence[float], order: int = 3) -> Steps:
    """UniPC-p with B_1(h) = h on the prediction of x0: algorithms 5 and 6.

    With D_m the differences of earlier predictions to the last one, divided by r_m = (lambda_m - lambda) / h:
    x' = (sigma' / sigma) x + (1 - e^-h) D + h sum_m rho_m D_m, where the weights rho solve R rho = b: equation 8 there.
    The corrector repeats the step with the prediction at its end among the D_m. The last steps are of lower order.

    Args:
        x: latents [B, C, h, w] in sigma space.
        sigmas: [n + 1], the last one above 0.
        timesteps: what the network is told at each of them.
        order: at most n.
    """
    n = len(sigmas) - 1
    order = min(order, n)
    x, denoised, _ = yield Query(x, sigmas[0], timesteps[0])
    known = [_Known(half_log_snr(sigmas[0]), denoised)]
    for i in range(1, n + 1):
        used = known[: min(i, order, n + 1 - i)]
        lam = half_log_snr(sigmas[i])
        base = _first_order(x, sigmas[i - 1], sigmas[i], used[0].denoised)
        predicted = base + _correction(used, lam)
        if i == n:
            return predicted
        predicted, denoised, _ = yield Query(predicted, sigmas[i], timesteps[i])
        now = _Known(lam, denoised)
        x = base + _correction(used, lam, now)
        known = [now, *known][:order]
    return x


def _first_order(x: Tensor, sigma: Tensor, sigma_next: Tensor, denoised: Tensor) -> Tensor:
    h = half_log_snr(sigma_next) - half_log_snr(sigma)
    return (sigma_next / sigma) * x - (-h).expm1() * denoised


def _correction(known: Sequence[_Known], lam: Tensor, now: _Known | None = None) -> Tensor | float:
    """Return h sum_m rho_m D_m for a step from `known[0]` to `lam`; 0 if there are no differences."""
    last = known[0]
    h = lam - last.lam
    ratios = [(k.lam - last.lam) / h for k in known[1:]]
    differences = [(k.denoised - last.denoised) / r for k, r in zip(known[1:], ratios, strict=True)]
    if now is not None:
        ratios.append(torch.ones(()))
        differences.append(now.denoised - last.denoised)
    if not differences:
        return 0.0
    total = sum((w * d for w, d in zip(_weights(ratios, h), differences, strict=True)), torch.zeros(()))
    return h * total


def _weights(ratios: Sequence[Tensor], h: Tensor) -> Tensor:
    """Solve sum_m r_m^(k-1) rho_m = k! phi_(k+1)(-h): for a single difference the authors take 1/2."""
    if len(ratios) == 1:
        return torch.tensor([0.5])
    z = -h
    phi = z.expm1() / z - 1  # z phi_2(z)
    rows, right = [], []
    factorial = 1
    r = torch.stack([ratio.reshape(()) for ratio in ratios])
    for k in range(1, len(ratios) + 1):
        rows.append(r ** (k - 1))
        right.append(phi * factorial / z)
        factorial *= k + 1
        phi = phi / z - 1 / factorial
    weights: Tensor = torch.linalg.solve(torch.stack(rows), torch.stack(right))
    return weights
