"""Guiders of a batch of images: its prompts, encoded once each, for the sampling loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bakehouse.data.weighted_prompt import PromptText, prompts_at
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.guidance import ClassifierFreeGuidance, ComposedGuidance, Guider, StepwiseGuidance
from bakehouse.models.region_map import MAIN, RegionMap
from bakehouse.models.regional_attention import RegionalGuidance
from bakehouse.models.samplers import find_sampler
from bakehouse.models.textual_inversion import TextualInversions

if TYPE_CHECKING:
    from bakehouse.models.text_to_image import ImageSpec

Encoding = Callable[[int], contextlib.AbstractContextManager[object]]
_CACHED_CHUNKS = 512
"""Chunks of encoded prompts kept, about 240 KB each for SD 1.x."""


class PromptCache:
    """Encoded prompts, the last 512 chunks. Each is encoded alone, so that its batch never changes a bit of it."""

    def __init__(self) -> None:
        self.state: object = None
        """Names what is on the text encoder. Set it before generating: prompts are encoded again when it differs."""
        self.inversions: TextualInversions | None = None
        """Textual inversions that weighted prompts may name."""
        self.encoding: Encoding = contextlib.nullcontext
        """Entered with the number of a prompt (`region_map.MAIN`, or a region's) while it is encoded."""
        self._cached: dict[object, tuple[Conditioning, int]] = {}
        """Oldest first, with the number of chunks."""

    def plain(self, model: Denoiser, text: str, spec: ImageSpec, *, is_negative: bool = False) -> Conditioning:
        """Return plain text encoded, [1, 77 x chunks, D]; of an empty negative prompt what means empty to the model."""
        empty = is_negative and not text.strip()
        encode = model.encode_negative if empty else model.encode_prompt
        key = None if empty else text, spec.clip_skip, spec.chunks, self.state
        how = {"clip_skip": spec.clip_skip, "chunks": spec.chunks}
        return self._kept(key, spec.chunks, lambda: encode(["" if empty else text], **how))

    def weighted(
        self, model: Denoiser, text: PromptText, spec: ImageSpec, chunks: int, *, is_negative: bool = False
    ) -> Conditioning:
        """Return a weighted prompt encoded, [1, 77 x chunks, D]."""
        key = text, is_negative and text.is_empty, spec.clip_skip, chunks, self.state
        how = {"clip_skip": spec.clip_skip, "chunks": chunks}
        return self._kept(
            key, chunks, lambda: model.encode_text(text, inversions=self.inversions, is_negative=is_negative, **how)
        )

    def clear(self) -> None:
        """Forget all prompts."""
        self._cached.clear()

    def _kept(self, key: object, chunks: int, encode: Callable[[], Conditioning]) -> Conditioning:
        if key not in self._cached:
            kept = sum(count for _, count in self._cached.values())
            while self._cached and kept + chunks > _CACHED_CHUNKS:
                kept -= self._cached.pop(next(iter(self._cached)))[1]
            self._cached[key] = encode(), chunks
        return self._cached[key][0]


def make_guider(model: Denoiser, specs: Sequence[ImageSpec], cache: PromptCache, region_map: RegionMap) -> Guider:
    """Return what guides a batch: plain prompts, or weighted ones that may change during sampling, also by region."""
    first = specs[0]
    sampler = find_sampler(first.sampler, first.schedule).sampler
    how = first.guidance * sampler.guidance_factor, first.guidance_rescale
    keep = sampler.needs_unguided
    if not any(spec.step_prompts for spec in specs):
        cond = Conditioning.cat([cache.plain(model, spec.prompt, spec) for spec in specs])
        if not first.needs_negative:
            return ClassifierFreeGuidance(cond, None, *how)
        negative = [cache.plain(model, spec.negative, spec, is_negative=True) for spec in specs]
        return ClassifierFreeGuidance(cond, Conditioning.cat(negative), *how, keep_unguided=keep)
    ends = sorted({prompts.last_step for spec in specs for schedule in spec.schedules for prompts in schedule})

    def of_prompt(prompt: int, end: int) -> ClassifierFreeGuidance | ComposedGuidance:
        now = [prompts_at(spec.schedules[prompt], end) for spec in specs]
        pairs = list(zip(specs, now, strict=True))
        with cache.encoding(prompt):
            cond = Conditioning.cat(
                [cache.weighted(model, c.text, spec, p.chunks) for spec, p in pairs for c in p.conditions]
            )
            if not first.needs_negative:
                return ClassifierFreeGuidance(cond, None, *how)
            negative = [cache.weighted(model, p.negative, spec, p.chunks, is_negative=True) for spec, p in pairs]
        if all(prompts.is_plain for prompts in now):
            return ClassifierFreeGuidance(cond, Conditioning.cat(negative), *how, keep_unguided=keep)
        weights = [[condition.weight for condition in prompts.conditions] for prompts in now]
        return ComposedGuidance(cond, Conditioning.cat(negative), weights, *how)

    def of_range(number: int) -> Guider:
        main, *regions = [of_prompt(prompt, ends[number]) for prompt in range(MAIN, len(first.schedules))]
        return RegionalGuidance(main, [one.prompts for one in regions], region_map) if regions else main

    return StepwiseGuidance(ends, of_range)
