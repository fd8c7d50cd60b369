"""What is trained: an objective is where the batches of a step come from, and their loss.

The loop, the batch-size finder, the range test and the caption prefetch know an objective alone. Another kind of
training is one more class with these methods, in `AnyObjective` and in `make_objective`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.core.events import Event
from bakehouse.core.run_folder import Run
from bakehouse.losses import Batch, DenoisingLoss
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe.plan import Plan
from bakehouse.training.batch_builder import BatchBuilder
from bakehouse.training.class_images import CaptionedImage
from bakehouse.training.latent_cache import LatentCache
from bakehouse.training.ranks import Ranks
from bakehouse.training.slider import SliderObjective
from bakehouse.training.slider_pairs import SliderPairsObjective
from bakehouse.training.step_callbacks import Callback
from bakehouse.training.text_cache import PromptEncoder
from bakehouse.training.training_state import TrainState


class Objective(Protocol):
    """A batch source and its loss."""

    def prepare(self, ranks: Ranks) -> Iterator[Event]:
        """Encode the data, each rank a share of it; called once before the first batch. Yields progress."""

    def batch_sizes(self, step: int) -> list[int]:
        """Return the number of samples in each batch whose gradients make up a step."""

    def batch(self, step: int, part: int, generator: torch.Generator) -> Batch:
        """Return batch number `part` of a step: a function of the seed, both numbers and `generator`."""

    def trial_batch(self, size: int, generator: torch.Generator) -> Batch:
        """Return a random batch of the largest shape, to measure what a step needs; works without `prepare`."""

    def loss(self, model: Denoiser, adapter: Adapter, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return one loss per sample, [B], before `Batch.weight`; all randomness comes from `generator`."""

    def prefetch(self, steps: Iterable[int]) -> None:
        """Compute before these steps what they need of networks other than the one that predicts."""

    def callbacks(self, run: Run) -> Sequence[Callback]:
        """Return callbacks of its own, called after weights are saved and before the state is."""

    def finish(self, state: TrainState, run: Run) -> Generator[Event, None, Mapping[str, Any]]:
        """Do what is still to be done with the trained weights; returns facts for the file's metadata."""

    @property
    def carried(self) -> dict[str, Tensor]:
        """What a step leaves for the next one, beside the adapter: the dict that it changes. Saved with the state."""


@dataclass(frozen=True)
class DenoisingObjective:
    """Captioned images, and the denoising loss on their noisy latents: DreamBooth, LoRA, fine-tuning."""

    plan: Plan
    model: Denoiser
    batches: BatchBuilder
    denoising: DenoisingLoss
    carried: dict[str, Tensor] = field(default_factory=dict)
    """Empty: every step is a function of the seed and its number."""

    @classmethod
    def create(
        cls, plan: Plan, model: Denoiser, adapter: Adapter, class_images: Sequence[CaptionedImage]
    ) -> DenoisingObjective:
        """Return the objective of a plan, unprepared; `class_images` are in the numbering of the plan's order.

        Raises:
            Problems: settings that the model's prediction type rules out.
        """
        recipe = plan.recipe
        latents = LatentCache([*plan.subject_images, *(c.image for c in class_images)], recipe.data)
        chunks = recipe.model.max_tokens // 75
        prompts = PromptEncoder(model, adapter, clip_skip=recipe.model.clip_skip, chunks=chunks)
        loss = DenoisingLoss(recipe.loss, recipe.noise, model.schedule)
        return cls(plan, model, BatchBuilder(plan, class_images, latents, prompts), loss)

    def prepare(self, ranks: Ranks) -> Iterator[Event]:
        """Fill the latent cache."""
        return self.batches.latents.fill(self.model, ranks)

    def batch_sizes(self, step: int) -> list[int]:
        return [len(slots) for slots in self.batches.slots(step)]

    def batch(self, step: int, part: int, generator: torch.Generator) -> Batch:
        return self.batches.batch(self.batches.slots(step)[part], step, part, generator)

    def trial_batch(self, size: int, generator: torch.Generator) -> Batch:
        width, height = max((i.placement.bucket for i in self.plan.images), key=lambda b: b[0] * b[1])
        model, recipe = self.model, self.plan.recipe
        latents = torch.randn(size, *model.latent_shape(width, height), generator=generator).to(model.device)
        with torch.set_grad_enabled(self.batches.prompts.trains_text):
            cond = model.encode_prompt([recipe.concepts[0].subject] * size, clip_skip=recipe.model.clip_skip)
        weight = torch.ones(size, device=model.device)
        return Batch(latents, cond, weight, torch.zeros(size, dtype=torch.bool))

    def loss(self, model: Denoiser, adapter: Adapter, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.denoising(model, adapter, batch, generator)

    def prefetch(self, steps: Iterable[int]) -> None:
        """Encode the captions of these steps, unless the text encoder trains."""
        if self.batches.prompts.trains_text:
            return
        for step in steps:
            self.batches.prompts.encode_with_base(sorted(self.batches.captions(step)))

    def callbacks(self, run: Run) -> Sequence[Callback]:
        """Return none."""
        return ()

    def finish(self, state: TrainState, run: Run) -> Generator[Event, None, Mapping[str, Any]]:
        """Do nothing."""
        yield from ()
        return {}


AnyObjective = DenoisingObjective | SliderObjective | SliderPairsObjective
"""The union of all objectives."""


def make_objective(
    plan: Plan, model: Denoiser, adapter: Adapter, class_images: Sequence[CaptionedImage] = ()
) -> AnyObjective:
    """Return the objective that a plan's recipe asks for, unprepared: the one place that chooses.

    Raises:
        Problems: settings that the model's prediction type rules out.
    """
    if plan.recipe.kind == "slider":
        from_images = bool(plan.recipe.concepts)
        return (
            SliderPairsObjective.create(plan, model, adapter) if from_images else SliderObjective(plan, model, adapter)
        )
    return DenoisingObjective.create(plan, model, adapter, class_images)
