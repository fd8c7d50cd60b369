"""Text-encoder neighbours: which known words the encoder puts near a word."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from bakehouse.data.tag_groups import plain
from bakehouse.evaluate.probe.bank import Bank
from bakehouse.evaluate.probe.reading import Kin
from bakehouse.families.denoiser import Denoiser

_BATCH = 32


class Neighbours:
    """Compares states of the end mark, where CLIP's text encoders gather what a prompt says.

    Taken off is the state of the class word alone: all prompts share it, and what is left is what a word adds.
    """

    def __init__(self, model: Denoiser, bank: Bank, *, class_word: str, clip_skip: int = 1) -> None:
        self.model = model
        self.bank = bank
        self.class_word = class_word
        self.clip_skip = clip_skip

    def near(self, word: str, count: int = 3) -> tuple[Kin, ...]:
        """The nearest words of the bank with their cosines, the nearest first; the word itself is not among them."""
        cosines = self._bank @ self._directions([word])[0]
        order = sorted(range(len(self.bank.words)), key=lambda i: (-float(cosines[i]), i))
        others = [i for i in order if plain(self.bank.words[i]) != plain(word)]
        return tuple(Kin(self.bank.words[i], float(cosines[i])) for i in others[:count])

    @cached_property
    def _bank(self) -> Tensor:
        words = self.bank.words
        return torch.cat([self._directions(words[i : i + _BATCH]) for i in range(0, len(words), _BATCH)])

    @cached_property
    def _of_class(self) -> Tensor:
        return self._states([self.class_word])

    def _directions(self, words: Sequence[str]) -> Tensor:
        """Unit rows [N, D]."""
        added = self._states([f"{word} {self.class_word}".strip() for word in words]) - self._of_class
        return torch.nn.functional.normalize(added, dim=-1)

    @torch.no_grad()
    def _states(self, prompts: Sequence[str]) -> Tensor:
        """The end marks' states [N, D], float64 on the CPU."""
        hidden = self.model.encode_prompt(prompts, clip_skip=self.clip_skip).hidden
        last = hidden.shape[1] - 1
        ends = [min(tokens + 1, last) for tokens in self.model.token_count(prompts)]
        return hidden[range(len(prompts)), ends].to("cpu", torch.float64)
