"""Sigma schedules by A1111's names: at which noise levels a solver asks the network.

Each is a function of the number of steps n, the model's noise levels, and nothing else. It returns descending levels
[n + 1] in float32, the last one 0 unless its docstring says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.models.beta_distribution import beta_quantile
from bakehouse.models.sigma_table import SigmaTable

TRAILING = "Trailing"
"""bakehouse's own spacing: evenly from the last timestep down (Lin et al. 2023, arXiv:2305.08891, table 2)."""
AUTOMATIC = "Automatic"
"""A1111's default: the schedule that goes with the sampler."""

_BETA = 0.6
"""Both shape parameters of A1111's `Beta`."""


def _with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def uniform(n: int, table: SigmaTable) -> Tensor:
    """Evenly spaced timesteps from the last to the first."""
    return _with_zero(_at_even_timesteps(table, n))


def sgm_uniform(n: int, table: SigmaTable) -> Tensor:
    """Evenly spaced timesteps from the last one down; the step to the first goes to 0 instead."""
    return _with_zero(_at_even_timesteps(table, n + 1)[:-1])


def _at_even_timesteps(table: SigmaTable, n: int) -> Tensor:
    last, first = (float(table.timestep(torch.tensor(s))) for s in (table.largest, table.smallest))
    return table.sigma(torch.linspace(last, first, n))


def karras(n: int, table: SigmaTable, rho: float = 7.0) -> Tensor:
    """Evenly spaced in sigma^(1/rho): Karras et al. 2022, arXiv:2206.00364, equation 5."""
    return _with_zero(karras_levels(n, table.smallest, table.largest, rho))


def karras_levels(n: int, smallest: float, largest: float, rho: float = 7.0) -> Tensor:
    """Return n levels from `largest` to `smallest`, evenly spaced in sigma^(1/rho)."""
    start, end = largest ** (1 / rho), smallest ** (1 / rho)
    levels: Tensor = (start + torch.linspace(0, 1, n) * (end - start)) ** rho
    return levels


def exponential(n: int, table: SigmaTable) -> Tensor:
    """Evenly spaced in log sigma."""
    return _with_zero(torch.linspace(math.log(table.largest), math.log(table.smallest), n).exp())


def polyexponential(n: int, table: SigmaTable, rho: float = 1.0) -> Tensor:
    """A polynomial in log sigma; with A1111's rho of 1 it is `exponential`."""
    share: Tensor = torch.linspace(1, 0, n) ** rho
    low = math.log(table.smallest)
    return _with_zero((share * (math.log(table.largest) - low) + low).exp())


def simple(n: int, table: SigmaTable) -> Tensor:
    """Levels of the table itself, every (N / n)-th from the last one."""
    spacing = len(table.sigmas) / n
    return _with_zero(table.sigmas[[-1 - int(i * spacing) for i in range(n)]])


def ddim(n: int, table: SigmaTable) -> Tensor:
    """Levels at timesteps 1, 1 + N // n, ...: the timesteps of DDIM. More than n where N is not divisible by n."""
    return _with_zero(table.sigmas[1 :: max(len(table.sigmas) // n, 1)].flip(0))


def beta(n: int, table: SigmaTable) -> Tensor:
    """Levels at quantiles of a beta distribution: dense at both ends. Lee et al. 2024, arXiv:2407.12173."""
    quantiles = [beta_quantile(float(p), _BETA, _BETA) for p in 1 - torch.linspace(0, 1, n, dtype=torch.float64)]
    low, high = table.smallest, table.largest
    return _with_zero(torch.tensor([low + q * (high - low) for q in quantiles], dtype=torch.float32))


def kl_optimal(n: int, table: SigmaTable) -> Tensor:
    """Evenly spaced in arctan sigma: Sabour et al. 2024, arXiv:2404.14507. Ends at the smallest level."""
    low, high = (torch.tensor(s).arctan() for s in (table.smallest, table.largest))
    share = torch.arange(n + 1) / n
    return (share * low + (1.0 - share) * high).tan()


_ALIGNED_SD = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
_ALIGNED_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
"""The published levels of ten steps."""


def align_your_steps(n: int, table: SigmaTable) -> Tensor:
    """Optimized levels for SD 1.x: Sabour et al. 2024, arXiv:2404.14507; other numbers of steps are interpolated."""
    return _with_zero(_log_interpolated(_ALIGNED_SD, n))


def align_your_steps_xl(n: int, table: SigmaTable) -> Tensor:
    """`align_your_steps` for SDXL."""
    return _with_zero(_log_interpolated(_ALIGNED_SDXL, n))


def _log_interpolated(levels: Sequence[float], n: int) -> Tensor:
    """Return n levels, evenly spaced along the given ones, log-linear between them."""
    logs = torch.tensor(levels, dtype=torch.float64).log().flip(0)
    at = torch.linspace(0, 1, n, dtype=torch.float64) * (len(levels) - 1)
    low = at.floor().long().clamp(max=len(levels) - 2)
    return (logs[low] + (at - low) * (logs[low + 1] - logs[low])).exp().flip(0).float()


SigmaSchedule = Callable[[int, SigmaTable], Tensor]


@dataclass(frozen=True)
class ScheduleKind:
    """One row: A1111's label, other names, and the function."""

    label: str
    make: SigmaSchedule
    for_sdxl: SigmaSchedule | None = None
    """The function for SDXL, if it is another."""
    aliases: tuple[str, ...] = ()


SCHEDULES: Mapping[str, ScheduleKind] = {
    row.label.lower(): row
    for row in (
        ScheduleKind("Uniform", uniform),
        ScheduleKind("Karras", karras),
        ScheduleKind("Exponential", exponential),
        ScheduleKind("Polyexponential", polyexponential),
        ScheduleKind("SGM Uniform", sgm_uniform, aliases=("sgmuniform", "sgm_uniform")),
        ScheduleKind("KL Optimal", kl_optimal, aliases=("kl_optimal",)),
        ScheduleKind("Align Your Steps", align_your_steps, align_your_steps_xl, aliases=("align_your_steps",)),
        ScheduleKind("Simple", simple),
        ScheduleKind("Normal", uniform),
        ScheduleKind("DDIM", ddim),
        ScheduleKind("Beta", beta),
    )
}
SCHEDULE_NAMES = (TRAILING, AUTOMATIC, *(row.label for row in SCHEDULES.values()))


def find_schedule(name: str) -> str:
    """Return the label of a schedule, in upper or lower case, `Trailing` and `Automatic` included.

    Raises:
        UsageError: unknown.
    """
    wanted = name.strip().lower()
    labels = {label.lower(): label for label in SCHEDULE_NAMES}
    labels |= {alias: row.label for row in SCHEDULES.values() for alias in row.aliases}
    if wanted not in labels:
        raise UsageError(
            f"schedule = {name!r}: unknown{did_you_mean(wanted, labels)}",
            hint=f"allowed are {', '.join(SCHEDULE_NAMES)}",
        )
    return labels[wanted]


def make_sigmas(
    label: str, n: int, table: SigmaTable, *, sdxl: bool = False, discard_penultimate: bool = False
) -> Tensor:
    """Return the noise levels of a schedule.

    Args:
        label: a row of `SCHEDULES`.
        n: steps.
        table: the model's noise levels.
        sdxl: whether the model is an SDXL.
        discard_penultimate: make one level more and leave out the last but one, as A1111 does for some samplers.
    """
    row = SCHEDULES[label.lower()]
    make = row.for_sdxl if sdxl and row.for_sdxl is not None else row.make
    sigmas = make(n + discard_penultimate, table)
    return torch.cat([sigmas[:-2], sigmas[-1:]]) if discard_penultimate else sigmas
