"""CLIP text encoders: words to token numbers, token numbers to the states that UNets were trained to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bakehouse.core.errors import UsageError

CHUNK_TOKENS = 75
"""Tokens that one pass of a CLIP text encoder reads, without the begin and end marks."""
MAX_CHUNKS = 3


def words_of(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Token numbers of each prompt, without begin and end marks and however many there are."""
    if not prompts:
        return []
    encoded = tokenizer(list(prompts), add_special_tokens=False, truncation=False, verbose=False)
    return [list(words) for words in encoded.input_ids]


def pieces_of(tokenizer: Any, prompts: Sequence[str]) -> list[list[str]]:
    """The pieces that a tokenizer cuts each prompt into; one that ends a word has the mark `</w>` behind it."""
    return [list(tokenizer.convert_ids_to_tokens(words)) for words in words_of(tokenizer, prompts)]


def whole_words(tokenizer: Any) -> list[str]:
    """Words of plain small letters that are one piece, in the order of their numbers.

    Byte-pair merges are made from the most frequent pair on (Sennrich et al. 2016, arXiv:1508.07909), so the last words
    are those that the tokenizer's own texts had least.
    """
    numbers: dict[str, int] = tokenizer.get_vocab()
    ends = [piece for piece in sorted(numbers, key=numbers.__getitem__) if piece.endswith("</w>")]
    words = [piece.removesuffix("</w>") for piece in ends]
    return [word for word in words if len(word) > 1 and word.isascii() and word.isalpha() and word.islower()]


def token_ids(tokenizer: Any, prompts: Sequence[str], *, chunks: int, length: int) -> Tensor:
    """Token numbers [B, chunks, length]: each chunk has its own begin mark, length - 2 places and an end mark.

    Raises:
        UsageError: more chunks than are read.
    """
    if not 1 <= chunks <= MAX_CHUNKS:
        raise UsageError(f"chunks = {chunks}: allowed are 1 to {MAX_CHUNKS} (75, 150 or 225 tokens)")
    room = length - 2
    begin, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    rows = []
    for words in words_of(tokenizer, prompts):
        for k in range(chunks):
            piece = [begin, *words[k * room : (k + 1) * room], end]
            rows.append(piece + [pad] * (length - len(piece)))
    return torch.tensor(rows).view(len(prompts), chunks, length)


def normed_state(encoder: Any, ids: Tensor, clip_skip: int) -> Tensor:
    """The `clip_skip`-th state from the end [N, L, D], with the encoder's last norm on it.

    SD 1.x and 2.x were trained on normed states, so the norm follows whichever layer is taken.
    """
    if clip_skip == 1:
        last: Tensor = encoder(ids).last_hidden_state
        return last
    states = encoder(ids, output_hidden_states=True).hidden_states
    inner = getattr(encoder, "text_model", encoder)
    normed: Tensor = inner.final_layer_norm(states[-clip_skip])
    return normed


def raw_state(encoder: Any, ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
    """The `clip_skip`-th state from the end [N, L, D] as it is, and the projected end mark's [N, P] where there is one.

    SDXL was trained on raw states of the layer before the last (Podell et al. 2023, section 2.1).
    """
    out = encoder(ids, output_hidden_states=True)
    return out.hidden_states[-clip_skip], getattr(out, "text_embeds", None)


def layers_of(encoder: Any) -> int:
    """How many layers an encoder has."""
    return int(encoder.config.num_hidden_layers)


class _Named(nn.Module):
    """Gives a network one more level of name and nothing else."""

    def __init__(self, text_model: nn.Module) -> None:
        super().__init__()
        self.text_model = text_model


def under_text_model(text_encoder: nn.Module) -> nn.Module:
    """A CLIP text encoder whose modules are called `text_model.encoder...`, as every adapter file calls them.

    transformers 5 took that level out of the network; the files of the world keep it.
    """
    return text_encoder if hasattr(text_encoder, "text_model") else _Named(text_encoder)
