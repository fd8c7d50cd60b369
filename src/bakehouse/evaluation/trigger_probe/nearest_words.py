"""Text-encoder neighbours: which known words the encoder puts near a word."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from bakehouse.data.tag_groups import plain
from bakehouse.evaluation.trigger_probe.known_words import Bank
from bakehouse.evaluation.trigger_probe.probe_result import Kin
from bakehouse.models.denoiser import Denoiser

_BATCH = 32


class Neighbours:
    """Compares states of the end mark, where CLIP's text encoders gather what a prompt says.

    Taken off is the mean over the bank's words: what all prompts share says nothing of one, and would make all alike.
    """

    def __init__(self, model: Denoiser, bank: Bank, *, class_word: str, clip_skip: int = 1) -> None:
        self.model = model
        self.bank = bank
        self.class_word = class_word
        self.clip_skip = clip_skip

    def near(self, word: str, count: int = 3) -> tuple[Kin, ...]:
        """The nearest words of the bank with their cosines, the nearest first; the word itself is not among them."""
        cosines = self._bank @ self._direction(word)
        order = sorted(range(len(self.bank.words)), key=lambda i: (-float(cosines[i]), i))
        others = [i for i in order if plain(self.bank.words[i]) != plain(word)]
        return tuple(Kin(self.bank.words[i], float(cosines[i])) for i in others[:count])

    @cached_property
    def _bank(self) -> Tensor:
        return torch.nn.functional.normalize(self._known - self._mean, dim=-1)

    @cached_property
    def _mean(self) -> Tensor:
        return self._known.mean(dim=0)

    @cached_property
    def _known(self) -> Tensor:
        words = self.bank.words
        return torch.cat([self._states(words[i : i + _BATCH]) for i in range(0, len(words), _BATCH)])

    def _direction(self, word: str) -> Tensor:
        """A unit vector [D]."""
        return torch.nn.functional.normalize(self._states([word])[0] - self._mean, dim=0)

    @torch.no_grad()
    def _states(self, words: Sequence[str]) -> Tensor:
        """The end marks' states [N, D] of prompts with the class word, float64 on the CPU."""
        prompts = [f"{word} {self.class_word}".strip() for word in words]
        hidden = self.model.encode_prompt(prompts, clip_skip=self.clip_skip).hidden
        last = hidden.shape[1] - 1
        ends = [min(tokens + 1, last) for tokens in self.model.token_count(prompts)]
        return hidden[range(len(prompts)), ends].to("cpu", torch.float64)
