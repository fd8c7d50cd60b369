"""The adapters on the model and their strengths for one batch: in the main prompt, and in each region.

`<lora:NAME:0.8>` in a region's prompt acts in that region alone: on its prompt as the text encoder sees it, on the
attention to that prompt, and on all other layers as far as the region's mask goes. An adapter that a region names acts
only where it is named, also if it is the model's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bakehouse.adapters import held_weights
from bakehouse.generation.read_prompts import AdapterKey, PromptAdapter, ReadPrompt
from bakehouse.generation.trained_weights import TrainedWeights
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.prompt_guiders import PromptCache
from bakehouse.models.region_map import MAIN, RegionMap


@dataclass(frozen=True)
class Strengths:
    """An adapter's strengths; the first is the main prompt's, those of the regions follow."""

    text: tuple[float, ...]
    """On the text encoders, while each prompt is encoded."""
    unet: tuple[float, ...]
    """On the denoising network."""


def strengths(key: AdapterKey, read: ReadPrompt, own: float = 0.0) -> Strengths:
    """Return the strengths of an adapter for what prompts ask for.

    A prompt's tag that names the adapter's file sets its strengths, or 0 if it asks for other ranks of it. A region
    whose prompt does not name it has those of the main prompt.

    Args:
        key: the adapter.
        read: what the prompts mean.
        own: its strength where no prompt names it; 0 is used instead if a region names it.
    """
    main, *regions = ({one.path: one for one in tags} for tags in read.adapters_by_prompt)
    if any(key[0] in tags for tags in regions):
        own = 0.0

    def set_by(tag: PromptAdapter | None, otherwise: tuple[float, float]) -> tuple[float, float]:
        if tag is None:
            return otherwise
        return (tag.text, tag.unet) if tag.key == key else (0.0, 0.0)

    first = set_by(main.get(key[0]), (own, own))
    found = [first, *(set_by(tags.get(key[0]), first) for tags in regions)]
    return Strengths(tuple(text for text, _ in found), tuple(unet for _, unet in found))


class PlacedAdapters:
    """Adapters with their strengths, for one batch."""

    def __init__(self, adapters: Sequence[tuple[AdapterKey, TrainedWeights, Strengths]], region_map: RegionMap) -> None:
        """Take adapters on the model; `region_map` says where regions are."""
        self._adapters, self._map = adapters, region_map

    @contextlib.contextmanager
    def applied(self, cache: PromptCache, model: Denoiser) -> Iterator[None]:
        """Apply the adapters inside a `with` block, to the model's network and to prompts that `cache` encodes."""
        with contextlib.ExitStack() as stack:
            for _, adapter, strength in self._adapters:
                first, *others = strength.unet
                if all(other == first for other in others):
                    stack.enter_context(adapter.scaled(first, text=strength.text[MAIN]))
                else:
                    by_place = self._map.strength(strength.unet)
                    stack.enter_context(adapter.scaled(1.0, text=strength.text[MAIN], by_place=by_place))
            stack.enter_context(held_weights(model.trainable_modules()["lora_unet"]))
            cache.state = self._state(MAIN)
            cache.encoding = lambda prompt: self._encoding(prompt, cache)
            try:
                yield
            finally:
                cache.encoding = contextlib.nullcontext

    @contextlib.contextmanager
    def _encoding(self, prompt: int, cache: PromptCache) -> Iterator[None]:
        """Apply the text encoders' strengths of one prompt inside a `with` block."""
        with contextlib.ExitStack() as stack:
            for _, adapter, strength in self._adapters:
                stack.enter_context(adapter.scaled(adapter.multiplier, text=strength.text[prompt]))
            cache.state = self._state(prompt)
            try:
                yield
            finally:
                cache.state = self._state(MAIN)

    def _state(self, prompt: int) -> object:
        return tuple((key, strength.text[prompt]) for key, _, strength in self._adapters)
