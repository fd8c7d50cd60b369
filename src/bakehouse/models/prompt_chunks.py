"""Weighted prompts to chunks of 75 tokens, and the weights on what the text encoder makes of them, as in A1111 1.10."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bakehouse.data.weighted_prompt import Break, Emphasis, PromptText, WeightedText
from bakehouse.models.text_encoders import CHUNK_TOKENS, prompt_token_ids
from bakehouse.models.textual_inversion import TextualInversion, WordVectors

COMMA_BACKTRACK = 20
"""Where a chunk is full, what follows a comma among its last tokens moves to the next chunk; that many tokens."""
_COMMA = ",</w>"


@dataclass
class TokenChunk:
    """At most 75 tokens, without start and end tokens."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    """One for each token."""
    inserted: list[tuple[int, TextualInversion]] = field(default_factory=list)
    """Textual inversions and the index of the first token that each replaces; their ids are 0."""

    def add(self, ids: Sequence[int], weight: float) -> None:
        """Add tokens of one weight."""
        self.ids += ids
        self.weights += [weight] * len(ids)

    def cut(self, at: int) -> TokenChunk:
        """Remove the tokens from `at` on, and return them as a chunk."""
        rest = TokenChunk(self.ids[at:], self.weights[at:], [(i - at, v) for i, v in self.inserted if i >= at])
        self.inserted = [(i, v) for i, v in self.inserted if i < at]
        del self.ids[at:], self.weights[at:]
        return rest


def token_chunks(tokenizer: Any, text: PromptText, inversions: WordVectors | None = None) -> list[TokenChunk]:
    """Return the chunks of a prompt, at least one.

    Each piece is tokenized by itself. A word that spells the name of a textual inversion becomes its vectors, which
    stay together in a chunk. BREAK ends a chunk, also an empty one.
    """
    pieces = iter(prompt_token_ids(tokenizer, [p.text for p in text.pieces if isinstance(p, WeightedText)]))
    comma = tokenizer.get_vocab().get(_COMMA)
    done: list[TokenChunk] = []
    chunk = TokenChunk()
    last_comma: int | None = None
    for piece in text.pieces:
        if isinstance(piece, Break):
            done.append(chunk)
            chunk, last_comma = TokenChunk(), None
            continue
        ids, at = next(pieces), 0
        while at < len(ids):
            if len(chunk.ids) == CHUNK_TOKENS:
                rest = TokenChunk()
                if last_comma is not None and ids[at] != comma and CHUNK_TOKENS - last_comma <= COMMA_BACKTRACK:
                    rest = chunk.cut(last_comma + 1)
                done.append(chunk)
                chunk, last_comma = rest, None
            inversion, length = inversions.at(ids, at) if inversions else (None, 1)
            if inversion is None:
                if ids[at] == comma:
                    last_comma = len(chunk.ids)
                chunk.add([ids[at]], piece.weight)
                at += 1
                continue
            if len(chunk.ids) + len(inversion) > CHUNK_TOKENS:
                done.append(chunk)
                chunk, last_comma = TokenChunk(), None
            chunk.inserted.append((len(chunk.ids), inversion))
            chunk.add([0] * len(inversion), piece.weight)
            at += length
    return [*done, chunk] if chunk.ids or not done else done


def plain_chunks(ids: Sequence[int], words: WordVectors) -> list[TokenChunk]:
    """Return the chunks of a plain prompt, at least one: filled one after another, without regard to commas.

    Captions and the prompts of `Denoiser.encode_prompt` are plain. The vectors of a word stay together in a chunk.
    """
    done: list[TokenChunk] = []
    chunk, at = TokenChunk(), 0
    while at < len(ids):
        found, length = words.at(ids, at)
        taken = [ids[at]] if found is None else [0] * len(found)
        if len(chunk.ids) + len(taken) > CHUNK_TOKENS:
            done.append(chunk)
            chunk = TokenChunk()
        if found is not None:
            chunk.inserted.append((len(chunk.ids), found))
        chunk.add(taken, 1.0)
        at += length
    return [*done, chunk]


def chunk_rows(tokenizer: Any, chunks: Sequence[TokenChunk], *, count: int, length: int) -> tuple[Tensor, Tensor]:
    """Return token ids and weights, both [count, length], of chunks and empty chunks after them.

    Start, end and padding have the weight 1.
    """
    begin, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    ids, weights = [], []
    for chunk in [*chunks, *[TokenChunk()] * (count - len(chunks))]:
        row = [begin, *chunk.ids, end]
        ids.append(row + [pad] * (length - len(row)))
        weights.append([1.0, *chunk.weights, *[1.0] * (length - len(row) + 1)])
    return torch.tensor(ids), torch.tensor(weights)


def emphasized(hidden: Tensor, weights: Tensor, emphasis: Emphasis) -> Tensor:
    """Return hidden states [N, L, D] of N chunks, multiplied by the weights [N, L] of their tokens.

    With `original` each chunk gets its mean over tokens and channels back: z' mean(z) / mean(z'), where z' = w z. Where
    one of the two is 0, as after a final LayerNorm without a bias, nothing is divided. A chunk whose weights are all 1
    is left as it is.
    """
    if emphasis in ("ignore", "none") or bool((weights == 1).all()):
        return hidden
    factors = weights.to(hidden.device)[..., None]
    z = hidden.float()
    multiplied = z * factors
    if emphasis == "original":
        before, after = (x.mean(dim=(1, 2), keepdim=True) for x in (z, multiplied))
        multiplied *= torch.where((before == 0) | (after == 0), 1.0, before / after)
    return torch.where((factors == 1).all(dim=1, keepdim=True), z, multiplied).to(hidden.dtype)
