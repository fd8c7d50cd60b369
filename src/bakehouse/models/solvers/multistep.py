"""Linear multistep methods: the slope of a step is a polynomial through the last slopes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bakehouse.models.solvers.coroutine import Query, Steps, pairs, slope

_GAUSS_LEGENDRE = (
    (-0.8611363115940526, 0.3478548451374538),
    (-0.3399810435848563, 0.6521451548625461),
    (0.3399810435848563, 0.6521451548625461),
    (0.8611363115940526, 0.3478548451374538),
)
"""Points and weights that integrate polynomials of up to seventh degree exactly."""


def lms(x: Tensor, sigmas: Tensor, order: int = 4) -> Steps:
    """Adams-Bashforth for uneven steps: x' = x + sum_j c_j d_(i-j).

    c_j is the integral over the step of the Lagrange polynomial that is 1 at sigma_(i-j) and 0 at the others.
    """
    levels = [float(s) for s in sigmas]
    slopes: list[Tensor] = []
    for i, (sigma, _) in enumerate(pairs(sigmas)):
        x, denoised, _ = yield Query(x, sigma)
        slopes = [slope(x, denoised, sigma), *slopes][:order]
        known = [levels[i - j] for j in range(len(slopes))]
        for j, d in enumerate(slopes):
            x = x + _lagrange_integral(known, j, levels[i], levels[i + 1]) * d
    return x


def _lagrange_integral(points: Sequence[float], j: int, start: float, end: float) -> float:
    """Return the integral from `start` to `end` of the polynomial that is 1 at `points[j]` and 0 at the others."""
    middle, half = (start + end) / 2, (end - start) / 2
    total = 0.0
    for u, weight in _GAUSS_LEGENDRE:
        value = 1.0
        for k, point in enumerate(points):
            if k != j:
                value *= (middle + half * u - point) / (points[j] - point)
        total += weight * value
    return total * half


_ADAMS_BASHFORTH = ((3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def plms(x: Tensor, sigmas: Tensor) -> Steps:
    """DDIM's step with a combination of the last four predictions of noise: Liu et al. 2022, arXiv:2202.09778.

    Equation 12 for the fourth step on; before, Adams-Bashforth of lower order, and first a Heun step. The timesteps
    must be evenly spaced. In sigma space DDIM's step is Euler's, and the prediction of noise is the slope.
    """
    before: list[Tensor] = []
    for sigma, sigma_next in pairs(sigmas):
        x, denoised, _ = yield Query(x, sigma)
        eps = slope(x, denoised, sigma)
        if before:
            weights = _ADAMS_BASHFORTH[len(before) - 1]
            combined = sum((w * e for w, e in zip(weights[1:], before, strict=True)), weights[0] * eps)
        else:
            predicted, denoised, _ = yield Query(x + eps * (sigma_next - sigma), sigma_next)
            combined = (eps + slope(predicted, denoised, sigma_next)) / 2
        before = [eps, *before][:3]
        x = x + combined * (sigma_next - sigma)
    return x
