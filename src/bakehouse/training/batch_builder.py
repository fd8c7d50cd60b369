"""Batches: what step k is shown, as a pure function of the plan, the seed and k."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from bakehouse.data.captions import training_caption
from bakehouse.losses import Batch
from bakehouse.models.denoiser import Moments
from bakehouse.recipe.epoch_order import Slot
from bakehouse.recipe.plan import Plan, PlannedImage
from bakehouse.training.latent_cache import LatentCache, Show
from bakehouse.training.text_cache import PromptEncoder

EMPTY_SHARE = 0.2
CLASS_WORD_SHARE = 0.2
"""Of the class images' captions, where the base is the teacher."""


class Feeder:
    """Puts cached latents and fresh captions together."""

    def __init__(self, plan: Plan, class_pictures: Sequence[tuple[PlannedImage, str]], latents: LatentCache) -> None:
        """`class_pictures` are the class images of the order, in its numbering, each with its caption."""
        self.plan = plan
        self.latents = latents
        self.subject = plan.subject_images
        self.class_captions = [caption for _, caption in class_pictures]
        self._order: tuple[int, list[list[Slot]]] = (-1, [])

    def slots(self, step: int) -> list[list[Slot]]:
        """The batches whose gradients make up one step."""
        accumulation = self.plan.recipe.train.accumulation
        epoch, within = divmod(step, self.plan.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, self.plan.order.epoch(self.plan.recipe.seed, epoch))
        return self._order[1][within * accumulation : (within + 1) * accumulation]

    def batch(
        self, slots: Sequence[Slot], step: int, part: int, prompts: PromptEncoder, generator: torch.Generator
    ) -> Batch:
        """The batch of `slots`; `generator` draws the latents from their moments."""
        recipe = self.plan.recipe
        drawn = [self._drawn(slot, step, part, position) for position, slot in enumerate(slots)]
        captions, shows = [caption for caption, _ in drawn], [show for _, show in drawn]
        moments = [self.latents.moments(show) for show in shows]
        both = Moments(torch.cat([m.mean for m in moments]), torch.cat([m.std for m in moments]))
        is_prior = torch.tensor([s.prior for s in slots])
        sizes = torch.tensor([self.latents.sizes(show) for show in shows])
        weight = torch.where(is_prior, recipe.prior.weight, 1.0)
        of_prior = [caption for caption, slot in zip(captions, slots, strict=True) if slot.prior]
        taught = prompts.base(of_prior) if of_prior and recipe.prior.target == "base" else None
        return Batch(
            latents=both.sample(generator).float(),
            cond=prompts(captions).with_sizes(sizes),
            base_cond=None if taught is None else taught.with_sizes(sizes[is_prior]),
            sizes=sizes,
            weight=weight.to(both.mean.device),
            is_prior=is_prior,
            mask=self._mask(shows, both.mean),
        )

    def captions(self, step: int) -> set[str]:
        """Every wording that `step` will be shown, so that they can be encoded before it."""
        parts = enumerate(self.slots(step))
        return {self._drawn(s, step, part, at)[0] for part, slots in parts for at, s in enumerate(slots)}

    def _drawn(self, slot: Slot, step: int, part: int, position: int) -> tuple[str, Show]:
        """A sample's caption, and how its image is shown."""
        recipe = self.plan.recipe
        rng = random.Random(f"sample/{recipe.seed}/{step}/{part}/{position}")
        caption = self._caption(slot, rng, step // self.plan.steps_per_epoch, step)
        row = self._row(slot)
        flip = recipe.data.flip and rng.random() < 0.5
        variants = self.latents.variants(row)
        variant = 0 if variants == 1 else rng.randrange(variants or 1 << 32)
        return caption, Show(row, flip, variant)

    def _row(self, slot: Slot) -> int:
        """Where the latent cache has a slot's image: subject images first, then class images."""
        return len(self.subject) + slot.index if slot.prior else slot.index

    def _caption(self, slot: Slot, rng: random.Random, epoch: int, step: int) -> str:
        recipe = self.plan.recipe
        if slot.prior:
            return self._class_caption(self.class_captions[slot.index], rng)
        record = self.subject[slot.index].record
        fallback = recipe.concepts[record.concept].subject
        return training_caption(
            record.captions, recipe.captions, rng=rng, epoch=epoch + 1, step=step, fallback=fallback
        )

    def _class_caption(self, caption: str, rng: random.Random) -> str:
        """Where the base is the teacher it knows an answer to any prompt: to the class word, and to none, too.

        The empty prompt is the other half of classifier-free guidance: if it drifts, colours burn.
        """
        if self.plan.recipe.prior.target != "base":
            return caption
        drawn = rng.random()
        if drawn < EMPTY_SHARE:
            return ""
        names = [c.class_name for c in self.plan.recipe.concepts if c.class_name]
        return rng.choice(names) if names and drawn < EMPTY_SHARE + CLASS_WORD_SHARE else caption

    def _mask(self, shows: Sequence[Show], like: Tensor) -> Tensor | None:
        """[B, 1, h, w], ones where an image has no mask; None where none has."""
        masks = [self.latents.mask(show) for show in shows]
        if all(m is None for m in masks):
            return None
        whole = torch.ones(1, 1, *like.shape[-2:])
        return torch.cat([whole if m is None else m for m in masks]).to(like.device)
