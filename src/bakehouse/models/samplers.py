"""Samplers by A1111's names: the diffusers scheduler behind each, on our noise schedule."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.models.noise_schedule import NoiseSchedule


@dataclass(frozen=True)
class Sampler:
    """A1111's name, diffusers' class and its settings."""

    label: str
    scheduler: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: str = ""
    """A package that diffusers' class requires and bakehouse does not install."""


_SDE = {"algorithm_type": "sde-dpmsolver++"}
_KARRAS = {"use_karras_sigmas": True}

SAMPLERS: Mapping[str, Sampler] = {
    row.label.lower(): row
    for row in (
        Sampler("Euler", "EulerDiscreteScheduler"),
        Sampler("Euler a", "EulerAncestralDiscreteScheduler"),
        Sampler("Euler Karras", "EulerDiscreteScheduler", _KARRAS),
        Sampler("DPM++ 2M", "DPMSolverMultistepScheduler"),
        Sampler("DPM++ 2M Karras", "DPMSolverMultistepScheduler", _KARRAS),
        Sampler("DPM++ 2M SDE", "DPMSolverMultistepScheduler", _SDE),
        Sampler("DPM++ 2M SDE Karras", "DPMSolverMultistepScheduler", {**_SDE, **_KARRAS}),
        Sampler("DPM++ SDE", "DPMSolverSinglestepScheduler", _SDE),
        Sampler("DPM++ SDE Karras", "DPMSolverSinglestepScheduler", {**_SDE, **_KARRAS}),
        Sampler("DPM++ 2S", "DPMSolverSinglestepScheduler"),
        Sampler("DPM2", "KDPM2DiscreteScheduler"),
        Sampler("DPM2 a", "KDPM2AncestralDiscreteScheduler"),
        Sampler("Heun", "HeunDiscreteScheduler"),
        Sampler("LMS", "LMSDiscreteScheduler", needs="scipy"),
        Sampler("UniPC", "UniPCMultistepScheduler"),
        Sampler("DEIS", "DEISMultistepScheduler"),
        Sampler("DDIM", "DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
        Sampler("DDPM", "DDPMScheduler", {"clip_sample": False}),
        Sampler("PNDM", "PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": False}),
        Sampler("LCM", "LCMScheduler"),
    )
}


def find_sampler(name: str) -> Sampler:
    """Return a sampler by A1111's name or by diffusers' class name, in upper or lower case.

    Raises:
        UsageError: unknown, or a package that it requires is not installed.
    """
    wanted = name.strip().lower()
    by_class = {row.scheduler.lower(): row for row in reversed(list(SAMPLERS.values()))}
    found = SAMPLERS.get(wanted) or by_class.get(wanted)
    if found is None:
        raise UsageError(
            f"sampler = {name!r}: unknown{did_you_mean(wanted, SAMPLERS)}", hint=f"allowed are {', '.join(SAMPLERS)}"
        )
    if found.needs:
        import importlib.util

        if importlib.util.find_spec(found.needs) is None:
            raise UsageError(f"sampler {found.label} needs {found.needs}", hint=f"`pip install {found.needs}`")
    return found


def make_scheduler(schedule: NoiseSchedule, sampler: str) -> Any:
    """Return a diffusers scheduler for exactly this noise schedule.

    Timestep spacing is `trailing` (Lin et al. 2023, arXiv:2305.08891, table 2): the first step is at the last
    timestep, which the network was trained to start from.
    """
    import diffusers

    row = find_sampler(sampler)
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
        return getattr(diffusers, row.scheduler).from_config(config)


@contextlib.contextmanager
def ignore_numpy_2_warnings() -> Iterator[None]:
    """Silence the deprecation warnings of numpy 2 when diffusers passes tensors to `np.array`; the values are right."""
    with warnings.catch_warnings():
        for message in ("__array__ implementation doesn't accept", "__array_wrap__ must accept"):
            warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
        yield
