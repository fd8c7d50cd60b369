"""Captions to conditioning: remembered where the text encoder is frozen, with gradients where it learns."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from bakehouse.adapters import Adapter
from bakehouse.models.denoiser import Conditioning, Denoiser


class PromptEncoder:
    """Shuffled and dropped captions are remembered too: each new wording is encoded once.

    On a CPU every caption is encoded alone, so that its bits do not depend on which others came with it.
    """

    def __init__(
        self, model: Denoiser, adapter: Adapter, *, clip_skip: int, chunks: int, max_bytes: int = 1 << 30
    ) -> None:
        self.model = model
        self.adapter = adapter
        self.learns = adapter.trains_text
        self.clip_skip = clip_skip
        self.chunks = chunks
        self.max_bytes = max_bytes
        self._kept: OrderedDict[str, Conditioning] = OrderedDict()
        self._bytes = 0

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        """Conditioning of [B] captions."""
        if self.learns:
            return self.model.encode_prompt(captions, clip_skip=self.clip_skip, chunks=self.chunks)
        return self.base(captions)

    def base(self, captions: Sequence[str]) -> Conditioning:
        """Conditioning of [B] captions by the untouched text encoder, without gradients."""
        return Conditioning.cat([self._remembered(c) for c in captions])

    def _remembered(self, caption: str) -> Conditioning:
        if caption in self._kept:
            self._kept.move_to_end(caption)
            return self._kept[caption]
        with torch.no_grad(), self.adapter.scaled(0.0):
            cond = self.model.encode_prompt([caption], clip_skip=self.clip_skip, chunks=self.chunks)
        self._kept[caption] = cond
        self._bytes += _size(cond)
        while self._bytes > self.max_bytes and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return cond


def _size(cond: Conditioning) -> int:
    return sum(x.numel() * x.element_size() for x in (cond.hidden, cond.pooled, cond.sizes) if x is not None)
