"""Sampling settings in infotext, as A1111's webui writes them."""

from __future__ import annotations

from bakehouse.models.samplers import find_sampler
from bakehouse.models.sigma_schedules import TRAILING
from bakehouse.models.text_to_image import ImageSpec

SPACING = "Timestep spacing"
"""Our own setting: `trailing` where the image was made with the schedule `Trailing`."""


def schedule_settings(spec: ImageSpec) -> dict[str, object]:
    """Return `Sampler`, `Schedule type` and, for the schedule `Trailing`, our own `Timestep spacing`.

    A1111 does not have `Trailing`; the nearest of its schedules is SGM Uniform, for samplers that take one.
    """
    choice = find_sampler(spec.sampler, spec.schedule)
    if choice.schedule != TRAILING:
        return {
            "Sampler": choice.label,
            "Schedule type": "Automatic" if choice.sampler.own_timesteps else choice.schedule,
        }
    of_k_diffusion = choice.label.startswith(("Euler", "DPM", "Heun"))
    return {
        "Sampler": choice.label,
        "Schedule type": "SGM Uniform" if of_k_diffusion else None,
        SPACING: "trailing",
    }


def noise_settings(spec: ImageSpec, *, downscale: int) -> dict[str, object]:
    """Return the settings of noise that differ from A1111's defaults, and `RNG`."""
    noise = spec.options.noise
    width, height = noise.resize_from or (0, 0)
    return {
        "Variation seed": spec.variation_seed if noise.variation_strength else None,
        "Variation seed strength": noise.variation_strength or None,
        "Seed resize from": f"{width * downscale}x{height * downscale}" if noise.resize_from else None,
        "Clip skip": spec.clip_skip if spec.clip_skip > 1 else None,
        "ENSD": noise.ensd or None,
        "RNG": noise.source.upper(),
    }


def sampler_settings(spec: ImageSpec) -> dict[str, object]:
    """Return the sampler's other settings that differ from A1111's defaults."""
    row, options = find_sampler(spec.sampler, spec.schedule).sampler, spec.options
    changed_eta = options.eta if options.eta != row.eta else None
    return {
        "Tiling": "True" if options.tiling else None,
        ("Eta DDIM" if row.own_timesteps else "Eta"): changed_eta,
        "Discard penultimate sigma": "True" if options.discard_penultimate and not row.discard_penultimate else None,
    }
