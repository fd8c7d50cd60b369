"""Words of a model that stand for trained vectors, in training and in generated images.

They are words in whatever the model encodes: captions, samples, prompts. Only the vectors are trained, so that no row
of the text encoder's own table ever has a gradient or changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from bakehouse.core.errors import UsageError
from bakehouse.core.message_text import listed
from bakehouse.models.text_encoders import prompt_token_ids
from bakehouse.models.textual_inversion import TextualInversion, WordIndex, WordVectors


class LearnedWords:
    """The words of one model; empty until an adapter adds one."""

    def __init__(self, encoders: Mapping[str, Any], tokenizers: Mapping[str, Any]) -> None:
        """Begin without words.

        Args:
            encoders: the model's text encoders, by diffusers' names.
            tokenizers: the tokenizer of each, by the same names.
        """
        self._encoders = dict(encoders)
        self._tokenizers = dict(tokenizers)
        self._words: dict[str, TextualInversion] = {}
        self._index = WordIndex(self._first_tokenizer, [])

    @property
    def _first_tokenizer(self) -> Any:
        return next(iter(self._tokenizers.values()))

    def __len__(self) -> int:
        return len(self._words)

    def add(self, word: str, vectors: Mapping[str, Tensor]) -> None:
        """Let a word stand for vectors [n, D] of each text encoder; under "" for a model with one encoder.

        The tensors are used as they are, so that parameters get gradients.

        Raises:
            UsageError: another embedding has this word, or the vectors are not for this model.
        """
        if word in self._words:
            raise UsageError(f"two embeddings are for the word {word!r}", hint="leave one of them out")
        widths = {part: int(e.get_input_embeddings().weight.shape[1]) for part, e in self._encoders.items()}
        has = {part: int(t.shape[-1]) for part, t in vectors.items()}
        if list(has.values()) != list(widths.values()) or not (has.keys() <= widths.keys() | {""}):
            numbers, needed = (listed(list(of.values())) for of in (has, widths))
            raise UsageError(
                f"the embedding of {word!r} is for another base: its vectors have {numbers} numbers, and those of this "
                f"model {needed}",
                hint="768 numbers are of SD 1.x, 1024 of SD 2.x, 768 and 1280 of SDXL",
            )
        self._words[word] = TextualInversion(word, None, dict(vectors))
        self._index = WordIndex(self._first_tokenizer, list(self._words))

    def remove(self, word: str) -> None:
        """Let a word be an ordinary one again."""
        self._words.pop(word, None)
        self._index = WordIndex(self._first_tokenizer, list(self._words))

    def at(self, ids: Sequence[int], position: int) -> tuple[TextualInversion | None, int]:
        """Return the vectors of the word that begins at a position, and the tokens of the word; None, 1: none."""
        for word, length in self._index.at(ids, position):
            return self._words[word], length
        return None, 1

    def or_else(self, others: WordVectors | None) -> WordVectors:
        """Return these words, and where they have none, others: files that a prompt names."""
        return self if others is None else _Either(self, others)

    def vectors_of(self, text: str) -> dict[str, Tensor]:
        """Return copies of the vectors [n, D] of a text's tokens, by text encoder.

        Raises:
            UsageError: the text is empty, or a tokenizer does not know a part of it.
        """
        found = {}
        for part, tokenizer in self._tokenizers.items():
            (ids,) = prompt_token_ids(tokenizer, [text])
            if not ids or tokenizer.unk_token_id in ids:
                what = "is empty" if not ids else "has characters that the base's tokenizer does not know"
                raise UsageError(f"the initial words {text!r}: the text {what}", hint="use words such as 'person'")
            found[part] = self._encoders[part].get_input_embeddings().weight.detach()[ids].float().clone()
        return found


class _Either:
    """Two tables of words: where the first has none, the second is asked."""

    def __init__(self, first: WordVectors, second: WordVectors) -> None:
        self._first, self._second = first, second

    def at(self, ids: Sequence[int], position: int) -> tuple[TextualInversion | None, int]:
        found, length = self._first.at(ids, position)
        return (found, length) if found is not None else self._second.at(ids, position)
