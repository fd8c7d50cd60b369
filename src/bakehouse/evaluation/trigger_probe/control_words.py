"""Control words of a probe: rare words, which should mean nothing to a base, and known words."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import key_of
from bakehouse.core.message_text import counted
from bakehouse.data.tag_groups import plain
from bakehouse.evaluation.trigger_probe.known_words import KnownWords

CONSONANTS = "bcdfghjklmnpqrstvwxz"
MAX_TOKENS = 8
"""Most tokens of a word; a longer one dominates every prompt, whatever it means."""
_TRIES = 20_000
_SHORTEST, _LONGEST = 3, 5
"""Length in letters of a rare word that is a single token."""

TokenCount = Callable[[str], int]


@dataclass
class ControlWords:
    """Control words by `seed`: the same for every base with the same tokenizer, whatever words are probed."""

    vocabulary: KnownWords
    token_count: TokenCount
    whole_words: list[str]
    """Words that are single tokens, the rarest last."""
    rare_count: int
    known_count: int
    seed: int = 0
    _streams: dict[int, tuple[list[str], Iterator[str]]] = field(default_factory=dict)

    def rare(self, tokens: int, *, exclude: str = "") -> list[str]:
        """Return rare words of `tokens` tokens, without `exclude`.

        Raises:
            BakehouseError: the tokenizer has no such words.
        """
        found = [w for w in self._first(tokens, self.rare_count + 1) if w != plain(exclude)][: self.rare_count]
        if not found:
            raise BakehouseError(
                f"the base's tokenizer has no rare words of {counted(tokens, 'token')} to compare with"
            )
        return found

    def known(self, *, exclude: str = "") -> list[str]:
        """Return a sample of the known words, without `exclude`."""
        return [w for w in self._known if plain(w) != plain(exclude)][: self.known_count]

    def pairs(self) -> list[tuple[str, str]]:
        """Return known words, each with a rare one of as many tokens, to test whether the base responds to words."""
        used: Counter[int] = Counter()
        found = []
        for word in self.known():
            n = self.token_count(word)
            rare = self._first(n, used[n] + 1)
            used[n] += 1
            if len(rare) == used[n]:
                found.append((word, rare[-1]))
        return found

    @cached_property
    def _known(self) -> list[str]:
        fitting = [w for w in self.vocabulary.words if 0 < self.token_count(w) <= MAX_TOKENS]
        return sorted(fitting, key=lambda w: key_of(self.seed, w))[: self.known_count + 1]

    def _first(self, tokens: int, count: int) -> list[str]:
        if tokens not in self._streams:
            self._streams[tokens] = ([], self._generate(tokens))
        found, stream = self._streams[tokens]
        found += itertools.islice(stream, max(0, count - len(found)))
        return found[:count]

    def _generate(self, tokens: int) -> Iterator[str]:
        """Yield rare words of `tokens` tokens, each once, as long as the tokenizer has some."""
        seen: set[str] = set()
        for word in self._rarest() if tokens == 1 else self._random_consonants(tokens):
            if word not in seen and word not in self.vocabulary.parts and self.token_count(word) == tokens:
                seen.add(word)
                yield word

    def _rarest(self) -> Iterator[str]:
        """Yield short words from the end of the tokenizer's list, then consonants that happen to be one token."""
        short = [w for w in reversed(self.whole_words) if _SHORTEST <= len(w) <= _LONGEST]
        # The last fifth of the list: before it are words of everyday language.
        yield from short[: max(self.rare_count + 1, len(short) // 5)]
        yield from self._random_consonants(1)

    def _random_consonants(self, tokens: int) -> Iterator[str]:
        rng = random.Random(f"{self.seed} {tokens}")
        for _ in range(_TRIES):
            yield "".join(rng.choice(CONSONANTS) for _ in range(rng.randint(max(3, tokens), 3 * tokens)))
