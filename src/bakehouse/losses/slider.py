"""Sliders: adapters that move one attribute of an image along their strength, and the loss that trains them.

LECO's formula (p1atdev 2023), after Gandikota et al. 2023, arXiv:2311.12092, equation 7: where the base predicts e_pos,
e_neg and e_mid for the prompts of both ends and of the middle, the adapter at strength s learns to predict

    e_mid + s g (e_pos - e_neg)      for `enhance`;  e_mid - s g (e_pos - e_neg)  for `erase`

for the target prompt. It is linear in the predictions, and holds for epsilon and v alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from bakehouse.core.settings import Spec
from bakehouse.losses.batch import Batch

Side = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]


class SliderPrompt(Spec):
    target: str
    """Prompt whose images change: `person`. Empty: all images."""
    positive: str | None = None
    """Prompt of what strength 1 shows more of. Default: the target."""
    negative: str = ""
    """Prompt of the opposite; LECO's `unconditional`."""
    neutral: str | None = None
    """Prompt of the middle, from which both ends move away. Default: the target."""
    action: Literal["enhance", "erase"] = "enhance"
    """`enhance`: strength 1 moves towards the positive prompt; `erase`: away from it."""
    guidance: Annotated[float, Field(gt=0, le=100)] = 1.0
    """How far strength 1 moves, in differences between the positive and the negative prompt."""
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Weight of this prompt's loss."""

    @property
    def ends(self) -> tuple[str, str, str]:
        """The positive, negative and neutral prompt."""
        positive = self.target if self.positive is None else self.positive
        return positive, self.negative, self.target if self.neutral is None else self.neutral

    @property
    def direction(self) -> float:
        """The factor of e_pos - e_neg at strength 1."""
        return self.guidance if self.action == "enhance" else -self.guidance


class SliderAnchor(Spec):
    prompt: str
    """Prompt whose images must not change, such as `person with a face mask`."""
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Weight of its loss."""


class SliderSpec(Spec):
    """A slider, with `kind = "slider"`: an adapter that moves one attribute, at strengths below and above 0. See
    [sliders](sliders.md).
    """

    prompts: tuple[SliderPrompt, ...] = ()
    """Its ends in words; several are trained in turn. A slider from images is trained on the first one's target, and
    its range is measured with the ends."""
    keep: tuple[str, ...] = ()
    """Attributes to hold, each in words: one of them in turn is added to all prompts, so that the ends do not differ in
    it (Gandikota et al. 2023, equation 8)."""
    anchors: tuple[SliderAnchor, ...] = ()
    """Prompts whose predictions are held at the base's."""
    both_ways: bool = True
    """Train strength -1 too. Without, only strength 1 is trained, as in LECO."""
    sizes: tuple[tuple[Side, Side], ...] = ()
    """Sizes of the images, width and height in pixels; each trajectory draws one. Default: the base's own."""
    vary_sizes: bool = False
    """Draw each side from half of the size to all of it, in steps of `buckets.step`."""
    trajectories: Literal["base", "slider"] = "base"
    """What denoises the trajectories, on whose noisy images the slider is trained: the untouched base, or the slider
    itself as far as it is trained, at the strengths in turn (LECO)."""
    points: Annotated[int, Field(ge=1, le=1000)] = 8
    """Steps that a trajectory is used for, each at another of its timesteps. 1 is LECO's: then most of the time goes
    into denoising."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 30
    """Number of denoising steps of a trajectory."""
    guidance: Annotated[float, Field(ge=1, le=100)] = 3.0
    """Guidance (CFG) scale of the trajectories."""
    sampler: str = "ddim"
    """Sampler of the trajectories, by its name in `bakehouse generate --sampler`."""
    strengths: tuple[Annotated[float, Field(gt=0, le=20)], ...] = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
    """Strengths at which the finished slider is measured, on both sides of 0."""
    images: Annotated[int, Field(ge=1, le=64)] = 4
    """Images for each of these strengths."""

    @property
    def signs(self) -> tuple[float, ...]:
        """The strengths that are trained."""
        return (1.0, -1.0) if self.both_ways else (1.0,)

    def all_prompts(self) -> Iterator[str]:
        """Yield every prompt that is encoded, repetitions included."""
        for prompt in self.prompts:
            for kept in self.keep or ("",):
                yield from (with_words(text, kept) for text in (prompt.target, *prompt.ends))
        yield from (anchor.prompt for anchor in self.anchors)


def with_words(prompt: str, words: str) -> str:
    """Return a prompt with words behind it: `person, smile` and `red hair` are `person, smile, red hair`."""
    return ", ".join(text for text in (prompt, words) if text)


def slider_target(neutral: Tensor, positive: Tensor, negative: Tensor, distance: float) -> Tensor:
    """Return what the adapter learns to predict, of the tensors' shape: neutral + distance x (positive - negative).

    `distance` is the strength x `SliderPrompt.direction`.
    """
    return neutral + distance * (positive - negative)


@dataclass(frozen=True, kw_only=True)
class SliderBatch(Batch):
    """Noisy latents, whose target is known. `latents` are x_t; `is_prior` is true for anchors."""

    t: Tensor
    """Timesteps of the latents, [B] int64 on the CPU."""
    target: Tensor
    """What the adapter learns to predict, [B, C, h, w] fp32."""


@dataclass(frozen=True, kw_only=True)
class PairBatch(Batch):
    """Images that show one strength of a slider; those of its other strengths are other batches."""

    noise_seed: int
    """Seed of noise and timesteps, the same for all strengths."""
