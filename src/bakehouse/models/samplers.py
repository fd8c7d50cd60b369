"""Samplers: from noise to latents, with any sampler of diffusers under the name A1111 gives it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.diffusers_networks import quiet
from bakehouse.models.noise_schedule import NoiseSchedule

if TYPE_CHECKING:
    from PIL.Image import Image

OnStep = Callable[[int, int, Tensor], None]
"""Called after each call of the network: done, total, latents."""


@dataclass(frozen=True)
class Sampler:
    """One row of the table: A1111's name, diffusers' class and its settings."""

    label: str
    scheduler: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: str = ""
    """A package that diffusers' class cannot work without."""


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
    """A sampler by A1111's name or by diffusers' class name; capitals do not count.

    Raises:
        UsageError: unknown, or a package that it needs is not installed.
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
    """A diffusers scheduler that works on exactly this noise schedule.

    Steps are spaced `trailing` (Lin et al. 2023, arXiv:2305.08891, table 2), so that the first one starts from
    the noise the network was taught to expect at the last timestep.
    """
    import diffusers

    row = find_sampler(sampler)
    # Solvers work in log-SNR, which has no zero; diffusers itself puts 2^-24 there.
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
    with _numpy_2_quiet():
        return getattr(diffusers, row.scheduler).from_config(config)


@contextlib.contextmanager
def _numpy_2_quiet() -> Iterator[None]:
    """The library hands tensors to `np.array`, which numpy 2 finds old-fashioned; the numbers are right."""
    with warnings.catch_warnings():
        for message in ("__array__ implementation doesn't accept", "__array_wrap__ must accept"):
            warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
        yield


def initial_noise(seeds: Sequence[int], shape_chw: Sequence[int]) -> Tensor:
    """Unit noise [B, C, h, w] on the CPU; each row comes from its own seed, alone or in a batch."""
    return torch.stack([torch.randn(tuple(shape_chw), generator=_generator(seed)) for seed in seeds])


def _generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed % 2**63)


def _generators_behind(seeds: Sequence[int], shape_chw: Sequence[int]) -> list[torch.Generator]:
    """One generator per picture, standing behind its initial noise: a sampler's noise must not be the same again."""
    generators = [_generator(seed) for seed in seeds]
    for generator in generators:
        torch.randn(tuple(shape_chw), generator=generator)
    return generators


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    cond: Conditioning,
    uncond: Conditioning | None,
    *,
    noise: Tensor,
    steps: int = 20,
    guidance: float = 7.0,
    guidance_rescale: float = 0.0,
    sampler: str = "dpm++ 2m",
    seeds: Sequence[int] | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Latents [B, C, h, w] for prompts, by classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598).

    Args:
        cond: the prompts, one row per picture.
        uncond: the negative prompts, one row or one per picture; not needed at guidance 1.
        noise: unit noise from `initial_noise`.
        guidance: pred = uncond + guidance x (cond - uncond).
        guidance_rescale: how far the guided prediction is brought back to the spread of the plain one; 0 is off, 0.7
            is usual for zero-terminal-SNR models, which guidance overexposes (Lin et al. 2023, section 3.4).
        seeds: the pictures' seeds, for samplers that add noise on the way; 0, 1, ... where not given.
        on_step: called as `on_step(done, total, latents)`; raise in it to stop.

    Raises:
        UsageError: unknown sampler, no steps, or guidance without a negative prompt.
    """
    find_sampler(sampler)
    if steps < 1:
        raise UsageError(f"steps = {steps}: must be at least 1")
    guided = guidance != 1.0
    if guided and uncond is None:
        raise UsageError(f"guidance = {guidance} needs a negative prompt (an empty one will do); 1.0 needs none")
    count = len(noise)
    generators = _generators_behind(seeds if seeds is not None else range(count), noise.shape[1:])
    scheduler = make_scheduler(denoiser.schedule, sampler)
    _set_steps(scheduler, steps, denoiser.device)
    extra = {"generator": generators} if _takes_generator(scheduler) else {}
    both = _both(cond, uncond, count) if guided and uncond is not None else cond
    latents: Tensor = noise.to(denoiser.device, torch.float32) * scheduler.init_noise_sigma
    total = len(scheduler.timesteps)
    for i, t in enumerate(scheduler.timesteps):
        x_t = scheduler.scale_model_input(latents, t)
        pred = denoiser(torch.cat([x_t, x_t]) if guided else x_t, t.expand(len(both)), both).float()
        if guided:
            without, within = pred.chunk(2)
            pred = _rescaled(without + guidance * (within - without), within, guidance_rescale)
        with _numpy_2_quiet():
            latents = scheduler.step(pred, t, latents, return_dict=False, **extra)[0]
        if on_step is not None:
            on_step(i + 1, total, latents)
    return latents


def _set_steps(scheduler: Any, steps: int, device: torch.device) -> None:
    more: dict[str, int] = {}
    if "original_inference_steps" in scheduler.config:  # LCM picks its steps out of so many, which diffusers sets to 50
        more["original_inference_steps"] = max(steps, scheduler.config.original_inference_steps)
    # Its advice on odd numbers of steps is not for whoever waits for a picture.
    with _numpy_2_quiet(), quiet("diffusers"):
        scheduler.set_timesteps(steps, device=device, **more)
    if hasattr(scheduler, "set_begin_index"):
        # Otherwise the first step is looked for by its timestep, which close steps share near pure noise.
        scheduler.set_begin_index(0)


def _both(cond: Conditioning, uncond: Conditioning, count: int) -> Conditioning:
    """Negative and positive prompts of `count` pictures; what is said of the pictures' sizes holds for both."""
    negative = _rows(uncond, count)
    return Conditioning.cat([negative if negative.sizes is not None else negative.with_sizes(cond.sizes), cond])


def _rescaled(guided: Tensor, plain: Tensor, share: float) -> Tensor:
    """Lin et al. 2023, equations 15 and 16: each picture's spread as it would be without guidance, blended in."""
    if not share:
        return guided
    axes = tuple(range(1, guided.ndim))
    level = guided * (plain.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True))
    return share * level + (1 - share) * guided


def _rows(cond: Conditioning, count: int) -> Conditioning:
    return cond if len(cond) == count else cond[[0] * count]


def _takes_generator(scheduler: Any) -> bool:
    import inspect

    return "generator" in inspect.signature(scheduler.step).parameters


def to_images(pixels: Tensor) -> list[Image]:
    """Pixels [B, 3, H, W] in -1..1 as pictures of 8 bits; values outside are cut off."""
    from PIL import Image

    values = ((pixels.detach().float() + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8)
    return [Image.fromarray(v.permute(1, 2, 0).contiguous().numpy()) for v in values]
