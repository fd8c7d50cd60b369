"""A1111's settings that determine an image besides sampler, schedule and steps."""

from __future__ import annotations

from dataclasses import dataclass, field

from bakehouse.core.errors import UsageError
from bakehouse.models.image_noise import NoiseSettings
from bakehouse.models.samplers import SamplerChoice


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Settings with A1111's defaults. `check_options` says which of them a sampler heeds."""

    eta: float | None = None
    """Share of noise that samplers add on the way. None: the sampler's, 1, and 0 for DDIM."""
    discard_penultimate: bool = False
    """Leave out the last noise level but one, as A1111 always does for DPM2, DPM2 a and DPM++ 3M SDE."""
    nearest_timestep: bool = False
    """Give the network whole timesteps alone: A1111's `Enable quantization in K samplers`."""
    tiling: bool = False
    """Make images whose opposite edges fit together."""
    noise: NoiseSettings = field(default_factory=NoiseSettings)


def check_options(choice: SamplerChoice, options: SamplingOptions) -> None:
    """Check that the settings have an effect with this sampler and schedule.

    Raises:
        UsageError: one that diffusers' schedulers do not have, or that the sampler's solver ignores.
    """
    if choice.solver is None:
        given = [
            name
            for name, used in (
                ("eta", options.eta is not None),
                ("discard_penultimate", options.discard_penultimate),
                ("nearest_timestep", options.nearest_timestep),
                ("ensd", options.noise.ensd != 0),
                ("rng = nv", options.noise.source != "cpu"),
            )
            if used
        ]
        if given:
            raise UsageError(
                f"{given[0]} has no effect with the schedule {choice.schedule}",
                hint=f"choose one of A1111's schedules, such as {choice.sampler.automatic}",
            )
    elif options.eta is not None and choice.sampler.eta is None:
        raise UsageError(f"eta = {options.eta:g}: sampler {choice.label} has none", hint="leave eta out")
