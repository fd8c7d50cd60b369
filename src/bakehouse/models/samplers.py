"""Samplers by A1111's names: what computes each, and which sigma schedule goes with it.

With the schedule `Trailing`, bakehouse's default, diffusers' scheduler computes; its images stay what they were to the
bit. With A1111's schedules it is a solver of `models.solvers`, in sigma space as in A1111 and k-diffusion, and the
images are A1111's. A sampler that lacks one of the two says so.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.quick_imports import quick_imports
from bakehouse.models.noise_schedule import NoiseSchedule
from bakehouse.models.sigma_schedules import AUTOMATIC, SCHEDULES, TRAILING, find_schedule
from bakehouse.models.solvers import dpm_solver, dpm_solver_pp, euler, multistep
from bakehouse.models.solvers.coroutine import SolverFunction
from bakehouse.models.solvers.unipc import unipc

StepPlacement = Literal["schedule", "range", "timesteps", "unipc"]
"""What places a solver's steps: a sigma schedule; the solver itself, within the schedule's range; or its own timesteps,
as DDIM's and UniPC's in A1111, which no schedule changes."""


@dataclass(frozen=True)
class Sampler:
    """A sampler: A1111's name, and what computes it."""

    label: str
    scheduler: str = ""
    """diffusers' class, for the schedule `Trailing`; empty: none."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of that class."""
    solver: SolverFunction | None = None
    """For A1111's schedules; None: none."""
    automatic: str = "Uniform"
    """The schedule that A1111 takes for `Automatic`."""
    steps: StepPlacement = "schedule"
    takes_noise: bool = False
    """Whether the solver adds noise on the way."""
    eta: float | None = None
    """How much, by default; None: that cannot be chosen."""
    brownian: bool = False
    """Whether the noise comes from a Brownian path."""
    discard_penultimate: bool = False
    """Whether A1111 always leaves out the last noise level but one."""
    needs_unguided: bool = False
    """Whether the solver asks for the prediction for the negative prompts too."""
    guidance_factor: float = 1.0
    """What A1111 multiplies the guidance with."""
    consistency: bool = False
    """Whether it is for latent consistency models, which know 50 timesteps and predict x0 at once."""
    adaptive: bool = False
    """Whether the steps depend on the image, so that each is generated alone."""
    aliases: tuple[str, ...] = ()
    """More names in upper or lower case."""

    @property
    def own_timesteps(self) -> bool:
        """Whether no schedule has an effect."""
        return self.steps in ("timesteps", "unipc")


_SDE = {"algorithm_type": "sde-dpmsolver++"}
_TO_FIRST = {"clip_sample": False, "set_alpha_to_one": False}

SAMPLERS: Mapping[str, Sampler] = {
    row.label.lower(): row
    for row in (
        Sampler("Euler", "EulerDiscreteScheduler", solver=euler.euler, aliases=("k_euler",)),
        Sampler(
            "Euler a",
            "EulerAncestralDiscreteScheduler",
            solver=euler.euler_ancestral,
            takes_noise=True,
            eta=1.0,
            aliases=("k_euler_a", "k_euler_ancestral"),
        ),
        Sampler(
            "DPM++ 2M",
            "DPMSolverMultistepScheduler",
            solver=dpm_solver_pp.dpm_pp_2m,
            automatic="Karras",
            aliases=("k_dpmpp_2m",),
        ),
        Sampler(
            "DPM++ 2M SDE",
            "DPMSolverMultistepScheduler",
            _SDE,
            solver=dpm_solver_pp.dpm_pp_2m_sde,
            automatic="Exponential",
            takes_noise=True,
            eta=1.0,
            brownian=True,
            aliases=("k_dpmpp_2m_sde",),
        ),
        Sampler(
            "DPM++ 2M SDE Heun",
            solver=dpm_solver_pp.dpm_pp_2m_sde_heun,
            automatic="Exponential",
            takes_noise=True,
            eta=1.0,
            brownian=True,
            aliases=("k_dpmpp_2m_sde_heun",),
        ),
        Sampler(
            "DPM++ SDE",
            "DPMSolverSinglestepScheduler",
            _SDE,
            solver=dpm_solver_pp.dpm_pp_sde,
            automatic="Karras",
            takes_noise=True,
            eta=1.0,
            brownian=True,
            aliases=("k_dpmpp_sde",),
        ),
        Sampler(
            "DPM++ 3M SDE",
            solver=dpm_solver_pp.dpm_pp_3m_sde,
            automatic="Exponential",
            takes_noise=True,
            eta=1.0,
            brownian=True,
            discard_penultimate=True,
            aliases=("k_dpmpp_3m_sde",),
        ),
        Sampler("DPM++ 2S", "DPMSolverSinglestepScheduler"),
        Sampler(
            "DPM++ 2S a",
            solver=dpm_solver_pp.dpm_pp_2s_ancestral,
            automatic="Karras",
            takes_noise=True,
            eta=1.0,
            aliases=("k_dpmpp_2s_a",),
        ),
        Sampler(
            "DPM2",
            "KDPM2DiscreteScheduler",
            solver=dpm_solver.dpm2,
            automatic="Karras",
            discard_penultimate=True,
            aliases=("k_dpm_2",),
        ),
        Sampler(
            "DPM2 a",
            "KDPM2AncestralDiscreteScheduler",
            solver=dpm_solver.dpm2_ancestral,
            automatic="Karras",
            takes_noise=True,
            eta=1.0,
            discard_penultimate=True,
            aliases=("k_dpm_2_a",),
        ),
        Sampler(
            "DPM fast",
            solver=dpm_solver.dpm_fast,
            steps="range",
            takes_noise=True,
            eta=1.0,
            aliases=("k_dpm_fast",),
        ),
        Sampler(
            "DPM adaptive",
            solver=dpm_solver.dpm_adaptive,
            steps="range",
            takes_noise=True,
            eta=1.0,
            adaptive=True,
            aliases=("k_dpm_ad",),
        ),
        Sampler("Heun", "HeunDiscreteScheduler", solver=euler.heun, aliases=("k_heun",)),
        Sampler("LMS", solver=multistep.lms, aliases=("k_lms", "lmsdiscretescheduler")),
        Sampler("Restart", solver=euler.restart, automatic="Karras", takes_noise=True),
        Sampler("UniPC", "UniPCMultistepScheduler", solver=unipc, steps="unipc"),
        Sampler("DDIM", "DDIMScheduler", _TO_FIRST, solver=euler.ddim, steps="timesteps", takes_noise=True, eta=0.0),
        Sampler(
            "DDIM CFG++",
            solver=euler.ddim_cfg_pp,
            steps="timesteps",
            takes_noise=True,
            eta=0.0,
            needs_unguided=True,
            guidance_factor=1 / 12.5,
            aliases=("ddim_cfgpp",),
        ),
        Sampler("PLMS", solver=multistep.plms, steps="timesteps"),
        Sampler("PNDM", "PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": False}),
        Sampler("LCM", "LCMScheduler", solver=euler.lcm, takes_noise=True, consistency=True, aliases=("k_lcm",)),
        Sampler("DEIS", "DEISMultistepScheduler"),
        Sampler("DDPM", "DDPMScheduler", {"clip_sample": False}),
    )
}


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler and the label of its schedule, `Automatic` resolved."""

    sampler: Sampler
    schedule: str

    @property
    def label(self) -> str:
        return self.sampler.label

    @property
    def solver(self) -> SolverFunction | None:
        """The solver that computes it; None: diffusers' scheduler does."""
        return None if self.schedule == TRAILING else self.sampler.solver


def find_sampler(name: str, schedule: str | None = None) -> SamplerChoice:
    """Return a sampler and its schedule, in upper or lower case.

    Args:
        name: A1111's name, diffusers' class, or a sampler and its schedule in one as before A1111 1.9
            (`DPM++ 2M Karras`).
        schedule: a name of `SCHEDULE_NAMES`. Default: what `name` says, else `Trailing`, and `Automatic` for samplers
            that do not have it.

    Raises:
        UsageError: unknown; two different schedules; or a schedule that this sampler does not have.
    """
    row, joined = _split(name)
    wanted = None if schedule is None else find_schedule(schedule)
    if joined is not None and wanted not in (None, joined):
        raise UsageError(
            f"sampler = {name!r} and schedule = {schedule!r}: two schedules", hint=f"leave out one, as in {row.label!r}"
        )
    label = joined or wanted or (TRAILING if row.scheduler else AUTOMATIC)
    if label == TRAILING and not row.scheduler:
        raise UsageError(
            f"sampler {row.label} does not have the schedule {TRAILING}",
            hint=f"{AUTOMATIC} is A1111's, and the default of this sampler",
        )
    if label != TRAILING and row.solver is None:
        raise UsageError(
            f"sampler {row.label} is not one of A1111's, so it does not have the schedule {label}",
            hint=f"leave the schedule out: {row.label} has {TRAILING} alone",
        )
    return SamplerChoice(row, row.automatic if label == AUTOMATIC else label)


def _split(name: str) -> tuple[Sampler, str | None]:
    wanted = name.strip().lower()
    rows = _names()
    if wanted in rows:
        return rows[wanted], None
    for schedule in SCHEDULES.values():
        for ending in (schedule.label.lower(), *schedule.aliases):
            before = wanted.removesuffix(f" {ending}")
            if before != wanted and before in rows:
                return rows[before], schedule.label
    raise UsageError(
        f"sampler = {name!r}: unknown{did_you_mean(wanted, SAMPLERS)}", hint=f"allowed are {', '.join(SAMPLERS)}"
    )


def _names() -> dict[str, Sampler]:
    """Return the samplers by all their names; a class that several have is the first one's."""
    rows = list(SAMPLERS.values())
    by_class = {row.scheduler.lower(): row for row in reversed(rows) if row.scheduler}
    return {**by_class, **{alias: row for row in rows for alias in row.aliases}, **SAMPLERS}


def make_scheduler(schedule: NoiseSchedule, sampler: str) -> Any:
    """Return a diffusers scheduler for exactly this noise schedule.

    Timestep spacing is `trailing` (Lin et al. 2023, arXiv:2305.08891, table 2): the first step is at the last
    timestep, which the network was trained to start from.
    """
    import diffusers

    row = find_sampler(sampler, TRAILING).sampler
    # Solvers compute log-SNR, which is infinite at abar = 0; diffusers uses 2^-24 there too.
    abar = schedule.alphas_cumprod.clamp(min=2.0**-24)
    betas = 1 - abar / torch.cat([torch.ones(1, dtype=abar.dtype), abar[:-1]])
    config = {
        "num_train_timesteps": schedule.steps,
        "trained_betas": betas.tolist(),
        "prediction_type": schedule.prediction,
        "timestep_spacing": "trailing",
        "steps_offset": 1,
        **row.options,
    }
    with ignore_numpy_2_warnings():
        with quick_imports():
            scheduler = getattr(diffusers, row.scheduler)
        return scheduler.from_config(config)


@contextlib.contextmanager
def ignore_numpy_2_warnings() -> Iterator[None]:
    """Silence the deprecation warnings of numpy 2 when diffusers passes tensors to `np.array`; the values are right."""
    with warnings.catch_warnings():
        for message in ("__array__ implementation doesn't accept", "__array_wrap__ must accept"):
            warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
        yield
