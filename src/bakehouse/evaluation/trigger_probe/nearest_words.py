"""Nearest known words of a word in the text encoder's embedding space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from bakehouse.data.tag_groups import plain
from bakehouse.evaluation.trigger_probe.known_words import KnownWords
from bakehouse.evaluation.trigger_probe.probe_result import SimilarWord
from bakehouse.models.denoiser import Denoiser

_BATCH = 32


class NearestWords:
    """Compares hidden states of the end-of-text token, where CLIP's text encoders gather a prompt's meaning.

    The mean over the known words is subtracted: what all prompts share would make all of them similar.
    """

    def __init__(self, model: Denoiser, vocabulary: KnownWords, *, class_word: str, clip_skip: int = 1) -> None:
        self.model = model
        self.vocabulary = vocabulary
        self.class_word = class_word
        self.clip_skip = clip_skip

    def nearest(self, word: str, count: int = 3) -> tuple[SimilarWord, ...]:
        """Return the `count` nearest known words with their cosines, nearest first, without the word itself."""
        words = self.vocabulary.words
        cosines = self._known_directions @ self._direction(word)
        order = sorted(range(len(words)), key=lambda i: (-float(cosines[i]), i))
        others = [i for i in order if plain(words[i]) != plain(word)]
        return tuple(SimilarWord(words[i], float(cosines[i])) for i in others[:count])

    @cached_property
    def _known_directions(self) -> Tensor:
        return torch.nn.functional.normalize(self._known_states - self._mean, dim=-1)

    @cached_property
    def _mean(self) -> Tensor:
        return self._known_states.mean(dim=0)

    @cached_property
    def _known_states(self) -> Tensor:
        words = self.vocabulary.words
        return torch.cat([self._states(words[i : i + _BATCH]) for i in range(0, len(words), _BATCH)])

    def _direction(self, word: str) -> Tensor:
        """Return a unit vector [D]."""
        return torch.nn.functional.normalize(self._states([word])[0] - self._mean, dim=0)

    @torch.no_grad()
    def _states(self, words: Sequence[str]) -> Tensor:
        """Return the end-of-text states [N, D] of prompts with the class word, float64 on the CPU."""
        prompts = [f"{word} {self.class_word}".strip() for word in words]
        hidden = self.model.encode_prompt(prompts, clip_skip=self.clip_skip).hidden
        last = hidden.shape[1] - 1
        ends = [min(tokens + 1, last) for tokens in self.model.token_count(prompts)]
        return hidden[range(len(prompts)), ends].to("cpu", torch.float64)
