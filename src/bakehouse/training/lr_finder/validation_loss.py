"""Fixed images, captions, noise and timesteps: what changes between two looks is the model alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor

from bakehouse.core.files import key_of
from bakehouse.losses import Batch
from bakehouse.recipe.class_images import without_trigger
from bakehouse.recipe.epoch_order import Slot
from bakehouse.training.loop import Parts
from bakehouse.training.training_state import TrainState

SAMPLES = 32
"""Images of the subject in turn, each time with other noise."""


class Watch:
    """How the subject's loss and the class have changed since the watch began.

    The same random numbers each time (common random numbers): single losses scatter a hundred times wider than the
    change of one and the same sample.
    """

    def __init__(self, parts: Parts, state: TrainState, samples: int = SAMPLES) -> None:
        self.parts = parts
        self.state = state
        self.sheets = list(_sheets(parts, samples))
        self.before: list[Tensor] = []
        """What the model said at the start of the class, one a sheet, [B, C, h, w]."""
        self.base_loss = 0.0
        self.base_loss, _ = self.read()

    @torch.no_grad()
    def read(self) -> tuple[float, float]:
        """Change of the subject's mean loss, and the mean error of the class against the start; 0 and 0 there.

        The class is asked on the same noisy images with captions that lack the trigger, in the recipe's own measure of
        error and weighting, so that the two figures can be added.
        """
        losses, errors = [], []
        self.state.adapter.eval()
        with self.parts.precision.autocast():
            for number, slots in enumerate(self.sheets):
                losses.append(self._subject(number, slots))
                errors.append(self._class(number, slots))
        self.state.adapter.train()
        return float(torch.cat(losses).mean()) - self.base_loss, float(torch.cat(errors).mean())

    def _batch(self, number: int, slots: list[Slot]) -> tuple[Batch, torch.Generator]:
        generator = torch.Generator().manual_seed(int(key_of("watch", self.parts.plan.recipe.seed, number)[:15], 16))
        return self.parts.feeder.batch(slots, number, 0, self.parts.prompts, generator), generator

    def _subject(self, number: int, slots: list[Slot]) -> Tensor:
        batch, generator = self._batch(number, slots)
        return self.parts.loss(self.parts.model, self.state.adapter, batch, generator)

    def _class(self, number: int, slots: list[Slot]) -> Tensor:
        """Error of each sample, [B]."""
        parts, recipe = self.parts, self.parts.plan.recipe
        batch, generator = self._batch(number, slots)
        schedule = parts.model.schedule
        t = recipe.noise.draw_timesteps(schedule, len(slots), generator)
        x_t = schedule.add_noise(batch.latents, recipe.noise.draw(batch.latents, generator), t)
        cond = parts.prompts([self._bare(slot) for slot in slots]).with_sizes(batch.sizes)
        said = parts.model(x_t, t.to(x_t.device), cond).float()
        if len(self.before) <= number:
            self.before.append(said)
        error = recipe.loss.elementwise(said, self.before[number], schedule, t).mean(dim=(1, 2, 3))
        return error * recipe.loss.weighting(schedule, t).to(error.device, error.dtype)

    def _bare(self, slot: Slot) -> str:
        """The caption as the base would have it; the class word where there is none."""
        record = self.parts.feeder.subject[slot.index].record
        concept = self.parts.plan.recipe.concepts[record.concept]
        return without_trigger(record.captions[0] if record.captions else concept.subject, concept)


def _sheets(parts: Parts, samples: int) -> Iterator[list[Slot]]:
    """The samples in batches of one shape, none larger than a step's."""
    buckets: dict[tuple[int, int], list[Slot]] = defaultdict(list)
    subject = parts.feeder.subject
    for i in range(max(samples, 1)):
        index = i % len(subject)
        buckets[subject[index].placement.bucket].append(Slot(index, prior=False))
    size = parts.plan.recipe.train.batch_size
    for slots in buckets.values():
        yield from (slots[i : i + size] for i in range(0, len(slots), size))
