"""Encoded captions: cached where the text encoder is frozen, computed with gradients where it trains."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Sequence

import torch

from bakehouse.adapters import Adapter
from bakehouse.models.denoiser import Conditioning, Denoiser


class PromptEncoder:
    """Encodes captions, each wording once: shuffled captions and captions with dropped tags are cached too.

    Every cached caption is encoded alone, so that its bits do not depend on the others of its batch.
    """

    def __init__(
        self, model: Denoiser, adapter: Adapter, *, clip_skip: int, chunks: int, max_bytes: int = 1 << 30
    ) -> None:
        self.model = model
        self.adapter = adapter
        self.trains_text = adapter.trains_text
        self.clip_skip = clip_skip
        self.chunks = chunks
        self.max_bytes = max_bytes
        self._cache: OrderedDict[str, Conditioning] = OrderedDict()
        self._bytes = 0

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        """Return the conditioning of [B] captions."""
        if self.trains_text:
            return self.model.encode_prompt(captions, clip_skip=self.clip_skip, chunks=self.chunks)
        return self.encode_with_base(captions)

    def encode_with_base(self, captions: Sequence[str]) -> Conditioning:
        """Return the conditioning of [B] captions by the base's text encoder, without gradients."""
        return Conditioning.cat([self._cached(c) for c in captions])

    def _cached(self, caption: str) -> Conditioning:
        if caption in self._cache:
            self._cache.move_to_end(caption)
            return self._cache[caption]
        # An adapter that leaves the text encoder alone changes no caption; a full fine-tune would copy its base for it.
        with torch.no_grad(), self.adapter.scaled(0.0) if self.trains_text else contextlib.nullcontext():
            cond = self.model.encode_prompt([caption], clip_skip=self.clip_skip, chunks=self.chunks)
        self._cache[caption] = cond
        self._bytes += _size(cond)
        while self._bytes > self.max_bytes and len(self._cache) > 1:
            self._bytes -= _size(self._cache.popitem(last=False)[1])
        return cond


def _size(cond: Conditioning) -> int:
    return sum(x.numel() * x.element_size() for x in (cond.hidden, cond.pooled, cond.sizes) if x is not None)
