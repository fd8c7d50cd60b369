"""The form of a solver: a coroutine that yields the latents it wants denoised, and receives them denoised.

    def euler(x, sigmas):
        for sigma, sigma_next in pairs(sigmas):
            x, denoised, _ = yield Query(x, sigma)
            x = x + slope(x, denoised, sigma) * (sigma_next - sigma)
        return x

So a solver knows no network, no prompts, no progress and no masks; who runs it (`models.solver_run`) does.
Latents are x = x0 + sigma eps, [B, C, h, w]; noise levels are float32 scalars on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Query(NamedTuple):
    """Latents that a solver wants denoised."""

    x: Tensor
    """[B, C, h, w]."""
    sigma: Tensor
    """Their noise level, []."""
    timestep: float | None = None
    """The timestep to give the network; None: the noise level's."""


class Answer(NamedTuple):
    """What a solver receives for a `Query`."""

    x: Tensor
    """The latents that were denoised: those of the query, or what a step hook has put in their place."""
    denoised: Tensor
    """The guided prediction of x0, [B, C, h, w]."""
    uncond: Tensor | None = None
    """The prediction of x0 for the negative prompts alone; only for solvers that are marked as needing it."""


Steps = Generator[Query, Answer, Tensor]
"""A running solver. It returns the latents at the last noise level."""
SolverFunction = Callable[..., Steps]
"""Called as `solver(x, sigmas)`, with `noise=` if it adds noise, and `eta=` if it can be told how much."""
StepNoise = Callable[[Tensor, Tensor], Tensor]
"""`noise(sigma, sigma_next)`: unit noise [B, C, h, w] for the way between two levels, in the order of the calls."""


def pairs(sigmas: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each noise level and the next one."""
    return pairwise(sigmas)


def slope(x: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
    """Return dx / dsigma = (x - D(x; sigma)) / sigma: Karras et al. 2022, arXiv:2206.00364, equations 1 and 3."""
    return (x - denoised) / sigma


def ancestral(sigma: Tensor, sigma_next: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Return the level to go down to and the noise to add there, so that together they make `sigma_next`.

    The added noise is eta x that of DDPM's posterior (Song et al. 2020, arXiv:2010.02502, equation 16); eta = 0 adds
    none, and at most all of `sigma_next` is new.
    """
    posterior = eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
    up = torch.minimum(sigma_next, posterior)
    return (sigma_next**2 - up**2) ** 0.5, up


def half_log_snr(sigma: Tensor) -> Tensor:
    """Return lambda = -log sigma, in which DPM-Solver's steps are measured."""
    return -sigma.log()


def at_half_log_snr(value: Tensor) -> Tensor:
    """Return the noise level at lambda: `half_log_snr`'s inverse."""
    return (-value).exp()
