"""Batches of training samples: the batches of step k are a pure function of the plan, the seed and k."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from bakehouse.data.captions import training_caption
from bakehouse.losses import Batch
from bakehouse.models.denoiser import Moments
from bakehouse.recipe.epoch_order import Slot
from bakehouse.recipe.plan import Plan
from bakehouse.training.class_images import CaptionedImage
from bakehouse.training.latent_cache import AugmentedView, LatentCache
from bakehouse.training.text_cache import PromptEncoder

EMPTY_SHARE = 0.2
CLASS_WORD_SHARE = 0.2
"""Shares of the class images' captions that are empty, and that are the class word, where the target is the base."""


class BatchBuilder:
    """Collates cached latents, captions, masks and sizes into batches."""

    def __init__(
        self, plan: Plan, class_images: Sequence[CaptionedImage], latents: LatentCache, prompts: PromptEncoder
    ) -> None:
        """`class_images` are in the numbering of the plan's order; `latents` has them after the subject images."""
        self.plan = plan
        self.latents = latents
        self.prompts = prompts
        self.subject = plan.subject_images
        self.class_captions = [c.caption for c in class_images]
        self._epoch: tuple[int, list[list[Slot]]] = (-1, [])

    def slots(self, step: int) -> list[list[Slot]]:
        """Return the samples of a step: one list for each batch whose gradients are accumulated."""
        accumulation = self.plan.recipe.train.accumulation
        epoch, within = divmod(step, self.plan.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self.plan.order.epoch(self.plan.recipe.seed, epoch))
        return self._epoch[1][within * accumulation : (within + 1) * accumulation]

    def batch(self, slots: Sequence[Slot], step: int, part: int, generator: torch.Generator) -> Batch:
        """Return the batch of `slots`; `generator` samples the latents from their moments."""
        recipe = self.plan.recipe
        samples = [self._sample(slot, step, part, position) for position, slot in enumerate(slots)]
        captions, views = [caption for caption, _ in samples], [view for _, view in samples]
        moments = [self.latents.moments(view) for view in views]
        both = Moments(torch.cat([m.mean for m in moments]), torch.cat([m.std for m in moments]))
        is_prior = torch.tensor([s.prior for s in slots])
        sizes = torch.tensor([self.latents.sizes(view) for view in views])
        weight = torch.where(is_prior, recipe.prior.weight, 1.0)
        of_class = [caption for caption, slot in zip(captions, slots, strict=True) if slot.prior]
        base_cond = self.prompts.encode_with_base(of_class) if of_class and recipe.prior.target == "base" else None
        return Batch(
            latents=both.sample(generator).float(),
            cond=self.prompts(captions).with_sizes(sizes),
            base_cond=None if base_cond is None else base_cond.with_sizes(sizes[is_prior]),
            sizes=sizes,
            weight=weight.to(both.mean.device),
            is_prior=is_prior,
            mask=self._mask(views, both.mean),
        )

    def captions(self, step: int) -> set[str]:
        """Return every caption of a step as it is trained on, so that they can be encoded before it."""
        parts = enumerate(self.slots(step))
        return {self._sample(s, step, part, at)[0] for part, slots in parts for at, s in enumerate(slots)}

    def _sample(self, slot: Slot, step: int, part: int, position: int) -> tuple[str, AugmentedView]:
        """Return a sample's caption and the view of its image."""
        recipe = self.plan.recipe
        rng = random.Random(f"sample/{recipe.seed}/{step}/{part}/{position}")
        caption = self._caption(slot, rng, step // self.plan.steps_per_epoch, step)
        row = len(self.subject) + slot.index if slot.prior else slot.index
        flip = recipe.data.flip and rng.random() < 0.5
        variants = self.latents.variants(row)
        variant = 0 if variants == 1 else rng.randrange(variants or 1 << 32)
        return caption, AugmentedView(row, flip, variant)

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
        """Return a class image's caption, or the class word or nothing in its place where the target is the base.

        The base has a prediction for any prompt, so the class word and the empty prompt are kept too. The empty prompt
        is the other half of classifier-free guidance: if it drifts, colours burn.
        """
        if self.plan.recipe.prior.target != "base":
            return caption
        drawn = rng.random()
        if drawn < EMPTY_SHARE:
            return ""
        names = [c.class_name for c in self.plan.recipe.concepts if c.class_name]
        return rng.choice(names) if names and drawn < EMPTY_SHARE + CLASS_WORD_SHARE else caption

    def _mask(self, views: Sequence[AugmentedView], like: Tensor) -> Tensor | None:
        """Return masks [B, 1, h, w], ones where an image has none; None where no image has one."""
        masks = [self.latents.mask(view) for view in views]
        if all(m is None for m in masks):
            return None
        whole = torch.ones(1, 1, *like.shape[-2:])
        return torch.cat([whole if m is None else m for m in masks]).to(like.device)
