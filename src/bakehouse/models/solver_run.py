"""Running a solver of `models.solvers`: where its steps are, and how predictions become answers to its queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bakehouse.core.errors import UsageError
from bakehouse.models.image_noise import ImageNoise
from bakehouse.models.noise_schedule import NoiseSchedule
from bakehouse.models.samplers import SamplerChoice
from bakehouse.models.sampling_options import SamplingOptions
from bakehouse.models.sigma_schedules import make_sigmas
from bakehouse.models.sigma_table import SigmaTable
from bakehouse.models.solvers.coroutine import Answer, Query, Steps


@dataclass(frozen=True)
class SolverPlan:
    """Where a solver's steps are."""

    sigmas: Tensor
    """[n + 1], what the solver is given."""
    first_sigma: Tensor
    """The noise level of the first latents, []."""
    timesteps: tuple[float, ...] | None = None
    """What the network is told at each level, where that is not the level's own timestep."""
    variance_preserving: bool = False
    """Whether pure noise and the result are scaled as x_t, as by A1111's DDIM, PLMS and UniPC."""


def plan_steps(
    choice: SamplerChoice, steps: int, table: SigmaTable, *, sdxl: bool, discard_penultimate: bool, start_step: int = 0
) -> SolverPlan:
    """Return where A1111 places the steps.

    Raises:
        UsageError: no step is left: some samplers make one less than they are asked for.
    """
    row = choice.sampler
    if row.steps == "unipc":
        return _unipc_steps(table, len(_ddim_timesteps(table, steps + discard_penultimate)), start_step)
    if row.steps == "timesteps":
        sigmas = table.sigmas[_ddim_timesteps(table, steps + discard_penultimate).flip(0)][start_step:]
        if len(sigmas) < 2:
            raise UsageError(
                f"steps = {steps - start_step}: {row.label} needs at least 2", hint="A1111 makes one step less"
            )
        return SolverPlan(sigmas, sigmas[0], variance_preserving=True)
    discard = discard_penultimate or row.discard_penultimate
    sigmas = make_sigmas(choice.schedule, steps, table, sdxl=sdxl, discard_penultimate=discard)[start_step:]
    if row.steps == "schedule":
        return SolverPlan(sigmas, sigmas[0])
    if start_step:
        within = torch.cat([sigmas[:-1], sigmas[-2:-1]])
    else:
        within = torch.cat([table.sigmas[-1:], sigmas[1:-1], table.sigmas[:1]])
    if within[0] <= within[-1]:
        raise UsageError(
            f"start_step = {start_step}: {row.label} has no step left", hint=f"begin earlier than {steps - 1}"
        )
    return SolverPlan(within, sigmas[0])


def _ddim_timesteps(table: SigmaTable, steps: int) -> Tensor:
    """Return 1, 1 + N // steps, ..., ascending; often more than `steps`, as N // steps is rounded down."""
    n = len(table.sigmas)
    return (torch.arange(0, n, max(1, n // steps)) + 1).clamp(max=n - 1)


def _unipc_steps(table: SigmaTable, steps: int, start_step: int) -> SolverPlan:
    """Evenly spaced times from T to the first timestep, with log alpha linear between timesteps."""
    n = len(table.sigmas)
    times = torch.linspace(1.0, 1 / n, steps + 1)[start_step:]
    log_alphas = -0.5 * torch.log1p(table.sigmas.double() ** 2)
    at = (times.double() * n - 1).clamp(0, n - 1)
    low = at.floor().long().clamp(max=n - 2)
    log_alpha = log_alphas[low] + (at - low) * (log_alphas[low + 1] - log_alphas[low])
    sigmas = torch.expm1(-2 * log_alpha).sqrt().float()
    return SolverPlan(sigmas, sigmas[0], tuple(((times - 1 / n) * n).tolist()), variance_preserving=True)


def start(choice: SamplerChoice, plan: SolverPlan, x: Tensor, noise: ImageNoise | None, eta: float | None) -> Steps:
    """Return the solver, ready to run from latents x in sigma space; without `noise` it adds zeros."""
    row = choice.sampler
    if row.solver is None:
        raise ValueError(f"{row.label} has no solver")
    more: dict[str, Any] = {} if plan.timesteps is None else {"timesteps": plan.timesteps}
    if row.takes_noise:

        def step_noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
            if noise is None:
                return torch.zeros_like(x)
            return (noise.brownian(sigma, sigma_next) if row.brownian else noise.next()).to(x.device)

        more["noise"] = step_noise
    if row.eta is not None:
        more["eta"] = row.eta if eta is None else eta
    return row.solver(x, plan.sigmas, **more)


def count_calls(choice: SamplerChoice, plan: SolverPlan) -> int:
    """Return how often the solver will ask, found by running it on zeros; of an adaptive one, the least it can ask."""
    solver = start(choice, plan, torch.zeros(1, 1, 1, 1), None, None)
    query, calls = next(solver), 0
    while True:
        calls += 1
        try:
            query = solver.send(Answer(query.x, query.x, query.x))
        except StopIteration:
            return calls


class SolverRun:
    """One run of a solver over a model's noise levels; the counterpart of `models.sampling.Solver`. Knows no model."""

    def __init__(
        self,
        schedule: NoiseSchedule,
        choice: SamplerChoice,
        steps: int,
        device: torch.device,
        *,
        noise: ImageNoise,
        options: SamplingOptions,
        sdxl: bool = False,
        start_step: int = 0,
        unguided: Callable[[], Tensor | None] = lambda: None,
    ) -> None:
        """Place `steps` steps and skip the first `start_step`.

        Args:
            schedule: the model's.
            choice: a sampler with a solver, and one of A1111's schedules.
            steps: of the whole schedule.
            device: where the latents are.
            noise: the noise on the way.
            options: eta, and how timesteps are chosen.
            sdxl: whether the model is an SDXL.
            start_step: steps to skip.
            unguided: gives the last prediction for the negative prompts, for samplers that need it.

        Raises:
            UsageError: no step is left.
        """
        self._schedule, self._choice, self._device = schedule, choice, device
        self._options, self._noise, self._unguided = options, noise, unguided
        row = choice.sampler
        self._table = SigmaTable.for_lcm(schedule) if row.consistency else SigmaTable.of(schedule)

        def plan(skipped: int) -> SolverPlan:
            discard = options.discard_penultimate
            return plan_steps(choice, steps, self._table, sdxl=sdxl, discard_penultimate=discard, start_step=skipped)

        self._plan = plan(start_step)
        if row.brownian:
            # The path is drawn over the whole schedule, also where only its end is used.
            noise.use_brownian_paths(plan(0).sigmas)
        self._calls = count_calls(choice, self._plan)
        self._solver: Steps | None = None
        self._query: Query | None = None
        self._done = 0

    @property
    def total(self) -> int:
        """Calls of the network in all; of an adaptive sampler, the least it can be until the run ends."""
        return self._done if self._solver and self._query is None else max(self._calls, self._done + 1)

    def first_latents(self, noise: Tensor, image_latents: Tensor | None = None) -> Tensor:
        """Return the latents of the first call: pure noise, or an image's latents with noise added."""
        plan, noise = self._plan, noise.to(self._device, torch.float32)
        if image_latents is not None:
            x = image_latents.to(self._device, torch.float32) + noise * plan.first_sigma
        else:
            x = noise * ((1 + plan.first_sigma**2).sqrt() if plan.variance_preserving else plan.first_sigma)
        self._solver = start(self._choice, plan, x, self._noise, self._options.eta)
        self._query = next(self._solver)
        return self._query.x

    @property
    def timesteps(self) -> Iterator[Tensor]:
        """Yield the timestep of each call until the solver has finished."""
        while self._query is not None:
            yield self._timestep(self._query).to(self._device)

    def _timestep(self, query: Query) -> Tensor:
        nearest = self._options.nearest_timestep or self._choice.sampler.consistency
        if query.timestep is None:
            return self._table.timestep(query.sigma, nearest=nearest)
        return torch.tensor(round(query.timestep) if nearest else query.timestep)

    def scale_input(self, latents: Tensor, t: Tensor) -> Tensor:
        """Return the latents as the network expects them: x_t of a variance-preserving process."""
        return latents * (1 / (self._asked.sigma**2 + 1) ** 0.5)

    def step(self, pred: Tensor, t: Tensor, latents: Tensor) -> Tensor:
        """Return the latents of the next call, after this prediction for `latents`; after the last call, the result."""
        if self._solver is None:
            raise ValueError("first_latents comes first")
        sigma = self._asked.sigma
        denoised = to_denoised(self._schedule, pred, latents, sigma)
        if self._choice.sampler.consistency:
            denoised = _at_consistency_boundary(denoised, latents, t)
        uncond = None
        if self._choice.sampler.needs_unguided:
            unguided = self._unguided()
            if unguided is None:
                raise UsageError(f"sampler {self._choice.label} needs a guider that keeps its unguided prediction")
            uncond = to_denoised(self._schedule, unguided, latents, sigma)
        self._done += 1
        try:
            self._query = self._solver.send(Answer(latents, denoised, uncond))
        except StopIteration as finished:
            self._query = None
            result: Tensor = finished.value
            return result / (1 + self._plan.sigmas[-1] ** 2).sqrt() if self._plan.variance_preserving else result
        return self._query.x

    def add_noise(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return clean latents at the noise level of the next call; unchanged after the last one."""
        clean = clean.to(self._device, torch.float32)
        return clean if self._query is None else clean + noise.to(self._device, torch.float32) * self._query.sigma

    @property
    def _asked(self) -> Query:
        if self._query is None:
            raise ValueError("no call is due: the solver has not begun, or has finished")
        return self._query


def to_denoised(schedule: NoiseSchedule, pred: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """Return the prediction of x0 for latents in sigma space.

    From eps: x - sigma eps. From v: x / (sigma^2 + 1) - sigma v / sqrt(sigma^2 + 1), Salimans & Ho 2022
    (arXiv:2202.00512), appendix D, divided by sqrt(abar).
    """
    if schedule.prediction == "epsilon":
        return x - sigma * pred
    return x / (sigma**2 + 1) - pred * (sigma / (sigma**2 + 1).sqrt())


_SIGMA_DATA = 0.5
_TIMESTEP_SCALE = 10.0


def _at_consistency_boundary(denoised: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """Return c_skip x + c_out D: Luo et al. 2023, arXiv:2310.04378, section 4.2, with the weights of its code."""
    scaled = t * _TIMESTEP_SCALE
    skip = _SIGMA_DATA**2 / (scaled**2 + _SIGMA_DATA**2)
    out = scaled / (scaled**2 + _SIGMA_DATA**2) ** 0.5
    return out * denoised + skip * x
