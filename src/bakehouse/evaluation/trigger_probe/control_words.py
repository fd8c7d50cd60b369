"""What a word is held against: rare words, which should mean nothing to a base, and words that it was taught."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import key_of
from bakehouse.data.tag_groups import plain
from bakehouse.evaluation.trigger_probe.known_words import Bank

CONSONANTS = "bcdfghjklmnpqrstvwxz"
MOST_PIECES = 8
"""Of a word: beyond, every prompt with it is about the word, whatever it means."""
_TRIES = 20_000
_SHORTEST, _LONGEST = 3, 5
"""Letters of a rare word that is one piece."""

Pieces = Callable[[str], int]


@dataclass
class Controls:
    """Draws words by `seed`: the same for each base with the same tokenizer, whatever words are asked about."""

    bank: Bank
    pieces: Pieces
    """How many pieces the tokenizer makes of a word."""
    whole_words: list[str]
    """Words of one piece, the rarest last."""
    rare_count: int
    known_count: int
    seed: int = 0
    _streams: dict[int, tuple[list[str], Iterator[str]]] = field(default_factory=dict)

    def rare(self, pieces: int, *, but: str = "") -> list[str]:
        """Words of so many pieces that should mean nothing; `but` is not among them.

        Raises:
            BakehouseError: the tokenizer makes none.
        """
        found = [w for w in self._first(pieces, self.rare_count + 1) if w != plain(but)][: self.rare_count]
        if not found:
            raise BakehouseError(f"the base's tokenizer makes no rare words of {pieces} pieces to compare with")
        return found

    def known(self, *, but: str = "") -> list[str]:
        """Words that the base was taught, a draw of the bank's."""
        return [w for w in self._known if plain(w) != plain(but)][: self.known_count]

    def pairs(self) -> list[tuple[str, str]]:
        """Known words, each with a rare one of as many pieces: what tells whether the base heeds words at all."""
        place: Counter[int] = Counter()
        found = []
        for word in self.known():
            n = self.pieces(word)
            rare = self._first(n, place[n] + 1)
            place[n] += 1
            if len(rare) == place[n]:
                found.append((word, rare[-1]))
        return found

    @cached_property
    def _known(self) -> list[str]:
        fitting = [w for w in self.bank.words if 0 < self.pieces(w) <= MOST_PIECES]
        return sorted(fitting, key=lambda w: key_of(self.seed, w))[: self.known_count + 1]

    def _first(self, pieces: int, count: int) -> list[str]:
        if pieces not in self._streams:
            self._streams[pieces] = ([], self._draw(pieces))
        found, stream = self._streams[pieces]
        found += itertools.islice(stream, max(0, count - len(found)))
        return found[:count]

    def _draw(self, pieces: int) -> Iterator[str]:
        """Rare words of so many pieces, each once; ends where the tokenizer makes no more of them."""
        seen: set[str] = set()
        for word in self._rarest() if pieces == 1 else self._letters(pieces):
            if word not in seen and word not in self.bank.parts and self.pieces(word) == pieces:
                seen.add(word)
                yield word

    def _rarest(self) -> Iterator[str]:
        """Short words from the end of the tokenizer's list, then consonants that happen to be one piece."""
        short = [w for w in reversed(self.whole_words) if _SHORTEST <= len(w) <= _LONGEST]
        # The last fifth: further up stand words that every text has.
        yield from short[: max(self.rare_count + 1, len(short) // 5)]
        yield from self._letters(1)

    def _letters(self, pieces: int) -> Iterator[str]:
        """Consonants drawn at random."""
        rng = random.Random(f"{self.seed} {pieces}")
        for _ in range(_TRIES):
            yield "".join(rng.choice(CONSONANTS) for _ in range(rng.randint(max(3, pieces), 3 * pieces)))
