"""CLIP text encoders: prompts to token ids, token ids to the hidden states that UNets were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bakehouse.core.errors import UsageError

CHUNK_TOKENS = 75
"""Tokens that one pass of a CLIP text encoder reads, without start and end tokens."""


def prompt_token_ids(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each prompt, without start and end tokens and untruncated."""
    if not prompts:
        return []
    encoded = tokenizer(list(prompts), add_special_tokens=False, truncation=False, verbose=False)
    return [list(ids) for ids in encoded.input_ids]


def prompt_tokens(tokenizer: Any, prompts: Sequence[str]) -> list[list[str]]:
    """Return the tokens of each prompt as text; one that ends a word ends in `</w>`."""
    return [list(tokenizer.convert_ids_to_tokens(ids)) for ids in prompt_token_ids(tokenizer, prompts)]


def single_token_words(tokenizer: Any) -> list[str]:
    """Return words of lower-case ASCII letters that are a single token, in the order of their ids.

    Byte-pair merges start with the most frequent pair (Sennrich et al. 2016, arXiv:1508.07909), so the last words are
    the rarest in the tokenizer's training text.
    """
    ids: dict[str, int] = tokenizer.get_vocab()
    words = [token.removesuffix("</w>") for token in sorted(ids, key=ids.__getitem__) if token.endswith("</w>")]
    return [word for word in words if len(word) > 1 and word.isascii() and word.isalpha() and word.islower()]


def token_ids(tokenizer: Any, prompts: Sequence[str], *, chunks: int, length: int) -> Tensor:
    """Return token ids [B, chunks, length]: each chunk is a start token, length - 2 tokens and an end token.

    Tokens beyond the last chunk are left out.

    Raises:
        UsageError: less than one chunk.
    """
    if chunks < 1:
        raise UsageError(f"chunks = {chunks}: must be at least 1 (75 tokens each)")
    room = length - 2
    begin, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    rows = []
    for ids in prompt_token_ids(tokenizer, prompts):
        for k in range(chunks):
            chunk = [begin, *ids[k * room : (k + 1) * room], end]
            rows.append(chunk + [pad] * (length - len(chunk)))
    return torch.tensor(rows).view(len(prompts), chunks, length)


def normalized_hidden_state(encoder: Any, ids: Tensor, clip_skip: int) -> Tensor:
    """Return the `clip_skip`-th hidden state from the end [N, L, D], after the encoder's final layer norm.

    SD 1.x and 2.x were trained on normalized states, so the norm is applied to whichever layer is used.
    """
    if clip_skip == 1:
        last: Tensor = encoder(ids).last_hidden_state
        return last
    states = encoder(ids, output_hidden_states=True).hidden_states
    inner = getattr(encoder, "text_model", encoder)
    normed: Tensor = inner.final_layer_norm(states[-clip_skip])
    return normed


def raw_hidden_state(encoder: Any, ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
    """Return the `clip_skip`-th hidden state from the end [N, L, D], and the projected end token [N, P] if any.

    SDXL was trained on the layer before the last, without the norm (Podell et al. 2023, section 2.1).
    """
    out = encoder(ids, output_hidden_states=True)
    return out.hidden_states[-clip_skip], getattr(out, "text_embeds", None)


def layer_count(encoder: Any) -> int:
    """Return the number of layers of an encoder."""
    return int(encoder.config.num_hidden_layers)


class _TextModelLevel(nn.Module):
    """Adds the level `text_model` to the names of a network's modules."""

    def __init__(self, text_model: nn.Module) -> None:
        super().__init__()
        self.text_model = text_model


def with_text_model_level(text_encoder: nn.Module) -> nn.Module:
    """Return a CLIP text encoder whose modules are named `text_model.encoder...`, as in adapter files.

    transformers 5 removed that level from the network; files keep it.
    """
    return text_encoder if hasattr(text_encoder, "text_model") else _TextModelLevel(text_encoder)
