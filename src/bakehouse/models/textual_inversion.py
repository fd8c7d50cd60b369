"""Textual inversions: word vectors that a prompt uses by a word. Gal et al. 2022, arXiv:2208.01618.

`TextualInversions` are files that prompts name. The vectors of a model's adapters are in `learned_words.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bakehouse.core.errors import BakehouseError
from bakehouse.core.message_text import listed
from bakehouse.models.text_encoders import CHUNK_TOKENS, prompt_token_ids
from bakehouse.pickles import damaged, load_pickle

_PARTS = {
    "clip_l": "text_encoder",
    "clip_g": "text_encoder_2",
    "text_encoders_0": "text_encoder",
    "text_encoders_1": "text_encoder_2",
}
"""Names of tensors in files for SDXL, and the text encoder that each is for."""


@dataclass(frozen=True)
class TextualInversion:
    """The vectors that stand for a word."""

    name: str
    path: Path | None
    """None: they are an adapter's."""
    vectors: Mapping[str, Tensor]
    """By text encoder, [n, D] each in single precision; under "" for a file that does not say which."""

    def __len__(self) -> int:
        return len(next(iter(self.vectors.values())))

    def of(self, part: str) -> Tensor:
        """Return the vectors for a text encoder."""
        return self.vectors[part if part in self.vectors else ""]


def read_textual_inversion(path: Path) -> TextualInversion:
    """Read a textual inversion in A1111's, kohya's or diffusers' layout; its name is the file's.

    Known are `string_to_param` (A1111), a single tensor under any name (diffusers: the token; kohya: `emb_params`),
    and `clip_l` with `clip_g` (SDXL), as .pt, .bin or .safetensors. A vector may be [D] or [n, D].

    Raises:
        BakehouseError: the file is damaged, could run code, or holds something else.
    """
    tensors = _safetensors(path) if path.suffix.lower() == ".safetensors" else _pickled(path)
    named = {_PARTS[name]: tensor for name, tensor in tensors.items() if name in _PARTS}
    if named and len(named) == len(tensors):
        vectors = dict(sorted(named.items()))  # text_encoder before text_encoder_2, as in models
    elif len(tensors) == 1:
        vectors = {"": next(iter(tensors.values()))}
    else:
        raise BakehouseError(
            f"{path} is not a textual inversion: it holds {len(tensors)} tensors",
            hint="it has to hold the vectors of one word: a single tensor, or clip_l and clip_g for SDXL",
        )
    vectors = {part: t.detach().float().reshape(-1, t.shape[-1]) for part, t in vectors.items() if t.ndim}
    counts = {len(t) for t in vectors.values()}
    finite = all(bool(torch.isfinite(t).all()) for t in vectors.values())
    if len(counts) != 1 or not 1 <= min(counts) <= CHUNK_TOKENS or not finite:
        raise BakehouseError(
            f"{path} is not a usable textual inversion",
            hint=f"it has to hold 1 to {CHUNK_TOKENS} finite vectors, as many for each text encoder",
        )
    return TextualInversion(path.stem, path, vectors)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as e:  # safetensors raises exceptions of its own
        raise damaged(path, e) from e


def _pickled(path: Path) -> dict[str, Tensor]:
    # Files of 2022 hold a ParameterDict, which is a module: it is data, but not on torch's own list.
    loaded = load_pickle(path, allowed=[nn.ParameterDict])
    if isinstance(loaded, dict):
        loaded = loaded.get("string_to_param", loaded)
    items = getattr(loaded, "_parameters", loaded)
    return {str(k): v for k, v in items.items() if isinstance(v, Tensor)} if isinstance(items, Mapping) else {}


@dataclass
class NamedInversions:
    """What prompts named."""

    used: dict[str, Path] = field(default_factory=dict)
    """Files by name."""
    messages: dict[str, str] = field(default_factory=dict)
    """What was wrong with a file, by name; the name was then read as a word."""


class WordVectors(Protocol):
    """Words that stand for vectors."""

    def at(self, ids: Sequence[int], position: int) -> tuple[TextualInversion | None, int]:
        """Return the vectors of the word that begins at a position, and the tokens of the word; None, 1: none."""


class WordIndex:
    """Words by their tokens, as A1111 looks for names: in upper or lower case, the longest first."""

    def __init__(self, tokenizer: Any, words: Sequence[str]) -> None:
        self._by_first: dict[int, list[tuple[list[int], str]]] = {}
        for word, ids in zip(words, prompt_token_ids(tokenizer, words), strict=True):
            if ids:
                self._by_first.setdefault(ids[0], []).append((ids, word))
        for candidates in self._by_first.values():
            candidates.sort(key=lambda pair: -len(pair[0]))

    def at(self, ids: Sequence[int], position: int) -> Iterator[tuple[str, int]]:
        """Yield the words that begin at a position, each with the number of its tokens."""
        for own, word in self._by_first.get(ids[position], ()):
            if list(ids[position : position + len(own)]) == own:
                yield word, len(own)


class TextualInversions:
    """The textual inversions that prompts of one model may name. A file is read when a prompt names it."""

    def __init__(self, files: Mapping[str, Path], tokenizer: Any, widths: Mapping[str, int]) -> None:
        """Look for the names of files in prompts.

        Args:
            files: the files by name.
            tokenizer: the model's.
            widths: the width of the word vectors of each text encoder.
        """
        self.files = dict(files)
        self._named = NamedInversions()
        self._widths = dict(widths)
        self._read: dict[str, TextualInversion | str] = {}
        """What was read, or what was wrong."""
        self._index = WordIndex(tokenizer, list(self.files))

    def at(self, ids: Sequence[int], position: int) -> tuple[TextualInversion | None, int]:
        """Return the textual inversion whose name begins at a position, and the tokens of its name; None, 1: none."""
        for name, length in self._index.at(ids, position):
            found = self._get(name)
            if found is not None:
                return found, length
        return None, 1

    @contextlib.contextmanager
    def noting_names(self) -> Iterator[NamedInversions]:
        """Collect which textual inversions prompts name inside a `with` block."""
        before, self._named = self._named, NamedInversions()
        try:
            yield self._named
        finally:
            self._named = before

    def _get(self, name: str) -> TextualInversion | None:
        if name not in self._read:
            try:
                self._read[name] = self._load(name)
            except BakehouseError as e:
                self._read[name] = f"embedding {name!r} is not used: {e.message}"
        found = self._read[name]
        if isinstance(found, str):
            self._named.messages[name] = found
            return None
        self._named.used[name] = self.files[name]
        return found

    def _load(self, name: str) -> TextualInversion:
        found = read_textual_inversion(self.files[name])
        has = {part: vectors.shape[1] for part, vectors in found.vectors.items()}
        if list(has.values()) != list(self._widths.values()) or not (has.keys() <= self._widths.keys() | {""}):
            numbers, needed = (listed(list(widths.values())) for widths in (has, self._widths))
            raise BakehouseError(f"its vectors have {numbers} numbers, the model's {needed}")
        return found


@contextlib.contextmanager
def inserted_vectors(encoder: Any, part: str, rows: Sequence[Sequence[tuple[int, TextualInversion]]]) -> Iterator[None]:
    """Inside a `with` block, put vectors in the place of the word vectors of some tokens.

    Args:
        encoder: a text encoder that is called once with as many rows of tokens as `rows` has.
        rows: textual inversions and the index of the first token that each replaces, start token included.
    """
    if not any(rows):
        yield
        return

    def insert(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        output = output.clone()
        for row, placed in enumerate(rows):
            for at, inversion in placed:
                vectors = inversion.of(part).to(output.device, output.dtype)
                output[row, at : at + len(vectors)] = vectors
        return output

    handle = encoder.get_input_embeddings().register_forward_hook(insert)
    try:
        yield
    finally:
        handle.remove()
