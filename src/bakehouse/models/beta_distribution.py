"""Quantiles of the beta distribution, which torch does not have."""

from __future__ import annotations

import math


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return P(X <= x) of a beta distribution with shapes a and b: the regularized incomplete beta function I_x(a, b).

    By its continued fraction (Abramowitz & Stegun 1964, 26.5.8), which converges quickly below the mean; above it
    I_x(a, b) = 1 - I_(1-x)(b, a).
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    log_factor = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_factor) / (a * _continued_fraction(x, a, b))


def _continued_fraction(x: float, a: float, b: float, terms: int = 200) -> float:
    """Return 1 + d_1 / (1 + d_2 / (1 + ...)), evaluated from its end."""
    value = 1.0
    for j in range(terms, 0, -1):
        m = j // 2
        if j % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        value = 1 + d / value
    return value


def beta_quantile(p: float, a: float, b: float) -> float:
    """Return x with P(X <= x) = p, by bisection to the last digit of a float.

    Near 1 the distance from 1 is what can be exact, so x is then found from its mirror image.
    """
    if p <= 0 or p >= 1:
        return 0.0 if p <= 0 else 1.0
    return 1 - _below_half(1 - p, b, a) if p > beta_cdf(0.5, a, b) else _below_half(p, a, b)


def _below_half(p: float, a: float, b: float) -> float:
    low, high = 0.0, 0.5
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        if beta_cdf(middle, a, b) < p:
            low = middle
        else:
            high = middle
