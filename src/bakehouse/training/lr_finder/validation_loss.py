"""Validation set of the range test: fixed images, captions, noise and timesteps, so that only the model changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from bakehouse.core.files import key_of
from bakehouse.losses import Batch
from bakehouse.recipe.class_image_list import without_trigger
from bakehouse.recipe.epoch_order import Slot
from bakehouse.training.loop import TrainingComponents
from bakehouse.training.objective import DenoisingObjective
from bakehouse.training.training_state import TrainState

SAMPLES = 32
"""Samples, taken from the subject images in turn, each time with other noise."""


class ValidationSet:
    """Measures the subject's loss and the drift of the class since the set was made.

    The random numbers are the same each time (common random numbers): single losses vary a hundred times more than the
    loss of the same sample changes.
    """

    def __init__(self, components: TrainingComponents, state: TrainState, samples: int = SAMPLES) -> None:
        self.components = components
        if not isinstance(components.objective, DenoisingObjective):
            raise TypeError("a validation set is of images, and this objective has none")
        self.objective: DenoisingObjective = components.objective
        self.state = state
        self.batches = list(_bucketed(components, samples))
        self.initial: list[Tensor] = []
        """The model's predictions of the class at the start, one [B, C, h, w] a batch."""
        self.base_loss = 0.0
        self.base_loss, _ = self.evaluate()

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Return the change of the subject's mean loss and the mean drift of the class; 0 and 0 at the start.

        Drift is the error against the predictions at the start, from the same images with captions without the trigger,
        in the recipe's own measure of error and weighting, so that the two figures can be added.
        """
        losses, drifts = [], []
        self.state.adapter.eval()
        with self.components.precision.autocast():
            for number, slots in enumerate(self.batches):
                losses.append(self._subject_loss(number, slots))
                drifts.append(self._class_drift(number, slots))
        self.state.adapter.train()
        return float(torch.cat(losses).mean()) - self.base_loss, float(torch.cat(drifts).mean())

    def _batch(self, number: int, slots: list[Slot]) -> tuple[Batch, torch.Generator]:
        seed = key_of("watch", self.components.plan.recipe.seed, number)
        generator = torch.Generator().manual_seed(int(seed[:15], 16))
        return self.objective.batches.batch(slots, number, 0, generator), generator

    def _subject_loss(self, number: int, slots: list[Slot]) -> Tensor:
        """Return the loss of each sample, [B]."""
        batch, generator = self._batch(number, slots)
        return self.objective.loss(self.components.model, self.state.adapter, batch, generator)

    def _class_drift(self, number: int, slots: list[Slot]) -> Tensor:
        """Return the drift of each sample, [B]."""
        objective = self.objective
        batch, generator = self._batch(number, slots)
        cond = objective.batches.prompts([self._class_caption(slot) for slot in slots]).with_sizes(batch.sizes)
        class_batch = replace(batch, cond=cond)
        prediction = objective.denoising.predict(self.components.model, class_batch, generator, perturb=False)
        if len(self.initial) <= number:
            self.initial.append(prediction.values)
        return objective.denoising.error(prediction, self.initial[number])

    def _class_caption(self, slot: Slot) -> str:
        """Return an image's caption without the trigger; the class word if it has none."""
        record = self.components.plan.subject_images[slot.index].record
        concept = self.components.plan.recipe.concepts[record.concept]
        return without_trigger(record.captions[0] if record.captions else concept.subject, concept)


def _bucketed(components: TrainingComponents, samples: int) -> Iterator[list[Slot]]:
    """Yield the samples in batches of one shape, none larger than in training."""
    buckets: dict[tuple[int, int], list[Slot]] = defaultdict(list)
    subject = components.plan.subject_images
    for i in range(max(samples, 1)):
        index = i % len(subject)
        buckets[subject[index].placement.bucket].append(Slot(index, prior=False))
    size = components.plan.recipe.train.batch_size
    for slots in buckets.values():
        yield from (slots[i : i + size] for i in range(0, len(slots), size))
