"""Trajectories of a slider's training: images that are denoised from noise, and noisy images on the way.

Each is used for several steps, at another of its timesteps each time. LECO denoises a new image for every step, up to
one timestep, which is four fifths of its time.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bakehouse.core.files import key_of
from bakehouse.losses.slider import SliderPrompt, SliderSpec, with_words
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.guidance import ClassifierFreeGuidance
from bakehouse.models.sampling import Solver

_SMALLEST = 64
"""Least side of an image whose size is drawn, in pixels."""


@dataclass(frozen=True)
class Draw:
    """What trajectory number n is of: a function of the seed and n."""

    prompt: SliderPrompt
    kept: str
    """Words that are added to all prompts."""
    anchor: int
    """Number of the anchor that is held on it."""
    strength: float
    """Strength of the slider that denoises it, if it is not the base."""
    width: int
    height: int

    @property
    def target(self) -> str:
        """The prompt that the image is denoised with, and that the slider is trained on."""
        return with_words(self.prompt.target, self.kept)

    @property
    def ends(self) -> tuple[str, str, str]:
        """The positive, negative and neutral prompt."""
        positive, negative, neutral = (with_words(text, self.kept) for text in self.prompt.ends)
        return positive, negative, neutral


def draw(spec: SliderSpec, grain: int, seed: int, number: int) -> Draw:
    """Return what a trajectory is of. Prompts with their kept attributes take turns, as do strengths and anchors.

    `grain` divides the sides of sizes that vary.
    """
    turns = list(itertools.product(spec.prompts, spec.keep or ("",)))
    round_, turn = divmod(number, len(turns))
    prompt, kept = turns[turn]
    rng = random.Random(f"trajectory/{seed}/{number}")
    width, height = rng.choice(spec.sizes)
    if spec.vary_sizes:
        width, height = (_vary(side, grain, rng) for side in (width, height))
    # Rounds are counted too: with an even number of turns each would have the same strength and anchor every time.
    strength = spec.signs[(number + round_) % len(spec.signs)]
    anchor = (number + round_) % max(1, len(spec.anchors))
    return Draw(prompt, kept, anchor, strength, width, height)


def _vary(side: int, grain: int, rng: random.Random) -> int:
    """Return a side from half of `side` to all of it, both included."""
    low, high = max(1, _SMALLEST // grain, side // 2 // grain), max(1, side // grain)
    return grain * rng.randint(min(low, high), high)


@dataclass(frozen=True)
class Trajectory:
    """Noisy images of one trajectory, at some of its timesteps in random order."""

    number: int
    latents: Tensor
    """x_t, [P, B, C, h, w] fp32: at each of P timesteps those of B images."""
    timesteps: Tensor
    """The timestep that belongs to each noise level, [P] int64 on the CPU."""

    def to_tensors(self) -> dict[str, Tensor]:
        """Return it as tensors that are saved with the training state."""
        return {
            "trajectory": torch.tensor([self.number]),
            "trajectory_latents": self.latents,
            "trajectory_timesteps": self.timesteps,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: torch.device) -> Trajectory | None:
        """Return what `to_tensors` gave; None where there is none."""
        if "trajectory" not in tensors:
            return None
        latents = tensors["trajectory_latents"].to(device)
        return cls(int(tensors["trajectory"]), latents, tensors["trajectory_timesteps"])


@torch.no_grad()
def denoise(
    model: Denoiser,
    spec: SliderSpec,
    drawn: Draw,
    cond: Conditioning,
    uncond: Conditioning,
    *,
    count: int,
    seed: int,
    number: int,
) -> Trajectory:
    """Denoise `count` images, and return them at `spec.points` of the steps. Adapters act as they stand.

    The images before step k of a sampler have the noise of its k-th timestep, whatever the spacing; that is the
    timestep they are returned with. (LECO names another one, 19 steps too noisy.)

    Args:
        model: the network and its schedule.
        spec: steps, sampler, guidance and number of points.
        drawn: the size of the images.
        cond: the prompt, one row.
        uncond: the empty prompt, one row.
        count: number of images, B.
        seed: the run's.
        number: of the trajectory; its noise and its points depend on seed and number alone.
    """
    key = int(key_of("trajectory", seed, number)[:15], 16)
    generator = torch.Generator().manual_seed(key)
    noise = torch.randn(count, *model.latent_shape(drawn.width, drawn.height), generator=generator)
    own = [torch.Generator().manual_seed(key + 1 + i) for i in range(count)]
    solver = Solver(model.schedule, spec.sampler, spec.steps, model.device, generators=own)
    guider = ClassifierFreeGuidance(cond[[0] * count], uncond, spec.guidance)
    wanted = random.Random(key).sample(range(len(solver.timesteps)), spec.points)
    found: dict[int, Tensor] = {}

    def predict(x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        pred: Tensor = model(x_t, t, cond)
        return pred.float()

    latents = solver.first_latents(noise)
    for k, t in enumerate(solver.timesteps[: max(wanted) + 1]):
        x_t = solver.scale_input(latents, t)
        if k in wanted:
            found[k] = x_t.float()
        if k < max(wanted):
            latents = solver.step(guider(predict, x_t, t.expand(count)), t, latents)
    timesteps = solver.timesteps[wanted].round().to("cpu", torch.int64)
    return Trajectory(number, torch.stack([found[k] for k in wanted]), timesteps)
