"""The sampling loop: from noise, or from the latents of an image, to clean latents.

The contract is k-diffusion's: a sampler knows no model and no prompts. It asks a guider (`models.guidance`) for a
prediction and makes a step. A step hook sees the latents after every step and may replace them. With that,
image-to-image is `image_latents` and `start_step`, and inpainting is a hook that returns a blend.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.diffusers_networks import quiet
from bakehouse.models.guidance import Guider
from bakehouse.models.image_noise import ImageNoise
from bakehouse.models.noise_schedule import NoiseSchedule
from bakehouse.models.samplers import find_sampler, ignore_numpy_2_warnings, make_scheduler
from bakehouse.models.sampling_options import SamplingOptions, check_options
from bakehouse.models.solver_run import SolverRun

if TYPE_CHECKING:
    from PIL.Image import Image


class SamplingCancelledError(BakehouseError):
    """Raised by a step hook to stop sampling. Nothing is returned, and the model can be used again at once."""


@dataclass(frozen=True)
class SamplingStep:
    """The state after one call of the network, as a step hook sees it."""

    done: int
    """Calls so far. Some samplers (Heun, DPM2) make two for each step."""
    total: int
    latents: Tensor
    """[B, C, h, w] fp32, at the noise level that the next call starts from."""
    add_noise: Callable[[Tensor, Tensor], Tensor]
    """`add_noise(clean, noise)`: other latents at the same noise level. After the last call that is `clean` itself."""


OnStep = Callable[[SamplingStep], Tensor | None]
"""A step hook. What it returns replaces the latents; None keeps them. It may raise `SamplingCancelledError`."""


def initial_noise(seeds: Sequence[int], shape_chw: tuple[int, int, int]) -> Tensor:
    """Return unit noise [B, C, h, w] on the CPU; each row comes from its own seed, alone or in a batch."""
    return ImageNoise(seeds, shape_chw).first()


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    guider: Guider,
    *,
    noise: Tensor,
    image_latents: Tensor | None = None,
    start_step: int = 0,
    steps: int = 20,
    sampler: str = "dpm++ 2m",
    schedule: str | None = None,
    seeds: Sequence[int] | None = None,
    options: SamplingOptions | None = None,
    on_step: OnStep | None = None,
    beside: Tensor | None = None,
) -> Tensor:
    """Return clean latents [B, C, h, w].

    Args:
        denoiser: the network and its noise schedule.
        guider: holds the prompts; see `models.guidance`.
        noise: unit noise [B, C, h, w] from `initial_noise`.
        image_latents: clean latents [B, C, h, w] to start from: `noise` is added as far as `start_step` asks for.
        start_step: steps to skip, 0 to `steps` - 1. More than 0 needs `image_latents`.
        steps: steps of the whole schedule.
        sampler: a name in `SAMPLERS`.
        schedule: a name in `SCHEDULE_NAMES`. Default: `Trailing`, or `Automatic` for samplers that do not have it.
        seeds: the images' seeds, for samplers that add noise during sampling. Default: 0, 1, ... The global random
            state of torch is neither read nor changed.
        options: A1111's other settings. `options.noise` is about noise on the way; `noise` is used as it is.
        on_step: called after each call of the network.
        beside: what an inpainting model reads beside the latents, [B, 1 + C, h, w] (`inpainting_model`).

    Raises:
        UsageError: unknown sampler, no steps, a start step that is out of range or lacks `image_latents`, or options
            that have no effect with this sampler and schedule.
        SamplingCancelledError: by the hook.
    """
    choice, options = find_sampler(sampler, schedule), options or SamplingOptions()
    check_options(choice, options)
    _check_steps(steps, start_step, image_latents)
    channels, height, width = noise.shape[1:]
    images = seeds if seeds is not None else range(len(noise))
    on_the_way = ImageNoise(images, (channels, height, width), options.noise)
    solver: Solver | SolverRun
    if choice.solver is None:
        generators = on_the_way.torch_generators()
        solver = Solver(
            denoiser.schedule, choice.label, steps, denoiser.device, start_step=start_step, generators=generators
        )
    else:
        solver = SolverRun(
            denoiser.schedule, choice, steps, denoiser.device, noise=on_the_way, options=options, start_step=start_step,
            sdxl=denoiser.family == "sdxl", unguided=lambda: getattr(guider, "unguided", None),
        )  # fmt: skip
    latents = solver.first_latents(noise, image_latents)

    def predict(x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        pred: Tensor = denoiser(x_t, t, cond)
        return pred.float()

    for i, t in enumerate(solver.timesteps):
        x_t = solver.scale_input(latents, t)
        x_t = x_t if beside is None else torch.cat([x_t, beside.to(x_t)], dim=1)
        pred = guider(predict, x_t, t.expand(len(latents)))
        latents = solver.step(pred, t, latents)
        if on_step is not None:
            replaced = on_step(SamplingStep(i + 1, solver.total, latents, solver.add_noise))
            latents = latents if replaced is None else replaced
    return latents


def _check_steps(steps: int, start_step: int, image_latents: Tensor | None) -> None:
    if steps < 1:
        raise UsageError(f"steps = {steps}: must be at least 1")
    if not 0 <= start_step < steps:
        raise UsageError(f"start_step = {start_step}: allowed are 0 to {steps - 1} with steps = {steps}")
    if start_step and image_latents is None:
        raise UsageError(f"start_step = {start_step} needs image_latents; without them sampling starts at step 0")


class Solver:
    """One run of a sampler over a noise schedule. Wraps a diffusers scheduler; knows no model."""

    def __init__(
        self,
        schedule: NoiseSchedule,
        sampler: str,
        steps: int,
        device: torch.device,
        *,
        start_step: int = 0,
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        """Space `steps` timesteps over the schedule and skip the first `start_step`."""
        self._scheduler: Any = make_scheduler(schedule, sampler)
        self._device = device
        self._done = 0
        takes_generator = "generator" in inspect.signature(self._scheduler.step).parameters
        self._extra = {"generator": list(generators)} if takes_generator and generators else {}
        self.timesteps: Tensor = self._space(steps, start_step)
        """One for each call of the network; samplers of second order make two calls a step."""
        self.total = len(self.timesteps)

    def _space(self, steps: int, start_step: int) -> Tensor:
        scheduler = self._scheduler
        extra: dict[str, int] = {}
        if "original_inference_steps" in scheduler.config:  # LCM takes its steps from among these; diffusers: 50
            extra["original_inference_steps"] = max(steps, scheduler.config.original_inference_steps)
        # diffusers logs advice about odd numbers of steps, which the user cannot act on.
        with ignore_numpy_2_warnings(), quiet("diffusers"):
            scheduler.set_timesteps(steps, device=self._device, **extra)
        first = start_step * scheduler.order
        if hasattr(scheduler, "set_begin_index"):
            # Otherwise the first step is found by its timestep, which close steps share near pure noise.
            scheduler.set_begin_index(first)
        timesteps: Tensor = scheduler.timesteps
        if "skip_prk_steps" in scheduler.config and start_step:
            # PNDM begins by calling the network twice at its second timestep, wherever it begins.
            timesteps = torch.cat([timesteps[:1], timesteps[2:]])[start_step:]
            return torch.cat([timesteps[:1], timesteps[1:2], timesteps[1:]])
        return timesteps[first:]

    def first_latents(self, noise: Tensor, image_latents: Tensor | None = None) -> Tensor:
        """Return the latents of the first call: pure noise, or an image's latents with noise added."""
        noise = noise.to(self._device, torch.float32)
        if image_latents is None:
            pure: Tensor = noise * self._scheduler.init_noise_sigma
            return pure
        return self.add_noise(image_latents, noise)

    def scale_input(self, latents: Tensor, t: Tensor) -> Tensor:
        """Return the latents as the network expects them: x_t of a variance-preserving process."""
        x_t: Tensor = self._scheduler.scale_model_input(latents, t)
        return x_t

    def step(self, pred: Tensor, t: Tensor, latents: Tensor) -> Tensor:
        """Return the latents after a step that follows this prediction."""
        with ignore_numpy_2_warnings():
            after: Tensor = self._scheduler.step(pred, t, latents, return_dict=False, **self._extra)[0]
        self._done += 1
        return after

    def add_noise(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return clean latents at the noise level of the next call; unchanged after the last one."""
        clean = clean.to(self._device, torch.float32)
        if self._done == len(self.timesteps):
            return clean
        t = self.timesteps[self._done].expand(len(clean))
        noisy: Tensor = self._scheduler.add_noise(clean, noise.to(self._device, torch.float32), t)
        return noisy


def to_images(pixels: Tensor) -> list[Image]:
    """Return pixels [B, 3, H, W] in -1..1 as 8-bit images; values outside are clipped."""
    from PIL import Image

    values = ((pixels.detach().float() + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8)
    return [Image.fromarray(v.permute(1, 2, 0).contiguous().numpy()) for v in values]
