"""Trained embeddings: new word vectors for a trigger word. Textual inversion (Gal et al. 2022, arXiv:2208.01618).

Only the vectors are parameters. The text encoder's own table is never copied, resized or trained, so that all of its
rows stay as they are, bit for bit, without being put back after each step as in kohya's and diffusers' scripts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Protocol, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from bakehouse.adapters.adapter import Adapter, check_fit
from bakehouse.adapters.file_coverage import BUNDLED
from bakehouse.adapters.file_metadata import EMBEDDING
from bakehouse.adapters.layer import StrengthByPlace
from bakehouse.core.errors import UsageError
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.core.setting_needs import Needs, is_on
from bakehouse.core.settings import Spec

MOST_VECTORS = 16
_SDXL = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
_SINGLE = "string_to_param.*"
_ON = Needs(is_on("vectors"))


class EmbeddingSpec(Spec):
    """New word vectors for the trigger: alone (`adapter.kind = "none"`, textual inversion) or together with an adapter
    (pivotal tuning).
    """

    vectors: Annotated[int, Field(ge=1, le=MOST_VECTORS)] | None = None
    """Number of vectors, 1 to 16, that the trigger word stands for, and of tokens that it takes in a caption. Default:
    none are trained; with `kind = "embedding"` from the plan."""
    init: Annotated[str | None, _ON] = None
    """Initial words, whose vectors training starts from: repeated if they are fewer than `vectors`, cut if more.
    Default: the class word."""
    lr: Annotated[Annotated[float, Field(gt=0)] | None, _ON] = None
    """Learning rate of the vectors. Default: from the plan."""
    until: Annotated[float, Field(gt=0, le=1), _ON] = 1.0
    """Share of the training after which the vectors are frozen and only the adapter trains."""
    keep_norm: Annotated[bool, _ON] = False
    """After each step scale each vector to the norm of the initial words, so that it does not outweigh other words."""


class WordTable(Protocol):
    """A model's words that stand for vectors: `models.learned_words.LearnedWords`."""

    def add(self, word: str, vectors: Mapping[str, Tensor]) -> None:
        """Let a word stand for vectors [n, D] of each text encoder."""

    def remove(self, word: str) -> None:
        """Let a word be an ordinary one again."""

    def vectors_of(self, text: str) -> dict[str, Tensor]:
        """Return copies of the vectors [n, D] of a text's tokens, by text encoder."""


class EmbeddingAdapter(Adapter):
    """Words and their vectors on a model, with the interface of an adapter.

    It is on or off: at strength 0 the words are ordinary ones. There is no strength between, since vectors between the
    initial and the learned ones mean neither; in a prompt, `(zwx:0.8)` weights the word.
    """

    spec = None

    def __init__(
        self,
        table: WordTable,
        words: Mapping[str, Mapping[str, Tensor]],
        settings: EmbeddingSpec | None = None,
        *,
        on: bool = True,
    ) -> None:
        """Put words on a model.

        Args:
            table: the model's words.
            words: by word, the vectors [n, D] of each text encoder.
            settings: how they train; None: they do not.
            on: whether the words stand for their vectors outside of `scaled` blocks.

        Raises:
            UsageError: vectors of another width than the model's, or a word that another embedding has.
        """
        self._table = table
        self.settings = settings or EmbeddingSpec()
        self.vectors = {
            word: {part: nn.Parameter(t.detach().float().clone(), settings is not None) for part, t in of.items()}
            for word, of in words.items()
        }
        self._norms = {key: p.detach().norm(dim=-1).mean() for key, p in self.named_parameters()}
        self._on = False
        self._switch(on)

    @classmethod
    def create(cls, settings: EmbeddingSpec, table: WordTable, init: Mapping[str, str]) -> Self:
        """Return new vectors for words, which begin as the vectors of initial words; `init` has these by word.

        Initial words with fewer tokens than vectors are repeated from the first, as in kohya's scripts.

        Raises:
            UsageError: initial words are empty, or the tokenizer does not know them.
        """
        count = settings.vectors or 1
        words = {}
        for word, text in init.items():
            found = table.vectors_of(text)
            words[word] = {part: rows[[i % len(rows) for i in range(count)]] for part, rows in found.items()}
        return cls(table, words, settings)

    @property
    def multiplier(self) -> float:
        """1 if the words stand for their vectors, 0 if they are ordinary ones."""
        return float(self._on)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the vectors by A1111's keys of embeddings in an adapter's file."""
        for word, of in self.vectors.items():
            for part, parameter in of.items():
                yield f"{BUNDLED}{word}.{_SINGLE if len(of) == 1 else _SDXL[part]}", parameter

    def is_text(self, name: str) -> bool:
        return True

    def module_names(self) -> list[str]:
        return []

    def state_dict(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.named_parameters()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        check_fit(self.state_dict(), state)
        for name, parameter in self.named_parameters():
            parameter.copy_(state[name])

    @contextlib.contextmanager
    def scaled(
        self, multiplier: float, *, text: float | None = None, by_place: StrengthByPlace | None = None
    ) -> Iterator[None]:
        """Switch the words off inside a `with` block if the strength on the text encoders is 0; places have no effect.

        Raises:
            UsageError: a strength other than 0 and 1.
        """
        strength = multiplier if text is None else text
        if strength not in (0, 1):
            raise UsageError(
                f"an embedding has no strength, and {strength:g} was asked for",
                hint=f"leave it out, or weight the word in the prompt: ({next(iter(self.vectors))}:{strength:g})",
            )
        with self.switched(strength != 0):
            yield

    @contextlib.contextmanager
    def switched(self, on: bool) -> Iterator[None]:
        """Let the words stand for their vectors inside a `with` block, or be ordinary ones."""
        before = self._on
        self._switch(on)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, on: bool) -> None:
        if on == self._on:
            return
        with contextlib.ExitStack() as undo:  # all words, or none where one is refused
            for word, vectors in self.vectors.items():
                if on:
                    self._table.add(word, vectors)
                    undo.callback(self._table.remove, word)
                else:
                    self._table.remove(word)
            undo.pop_all()
        self._on = on

    def merge_into(self, *, keep: bool = True) -> None:
        """Do nothing: the words are the model's already."""

    def unmerge(self) -> None:
        """Do nothing: nothing is merged."""

    def remove(self) -> None:
        self._switch(False)

    def train(self, mode: bool = True) -> Self:
        return self

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        for _, parameter in self.named_parameters():
            parameter.data = parameter.data.to(device, dtype)
        return self

    def begin_step(self, share: float) -> None:
        """Stop training the vectors from the share of the training that the settings say."""
        for _, parameter in self.named_parameters():
            parameter.requires_grad_(share < self.settings.until)

    def parameter_groups(self, unet_lr: float, text_lr: float | None = None) -> list[dict[str, Any]]:
        """Return one group, `embedding`, at its own learning rate.

        It has no weight decay: decay pulls towards zero, and the zero vector means no word.
        """
        group = {"name": "embedding", "params": list(self.parameters()), "lr": self.settings.lr or unet_lr}
        return [{**group, "weight_decay": 0.0}]

    @torch.no_grad()
    def apply_max_norm(self) -> None:
        if not self.settings.keep_norm:
            return
        for key, parameter in self.named_parameters():
            if parameter.requires_grad:
                norms = parameter.norm(dim=-1, keepdim=True).clamp(min=1e-12)
                parameter.mul_(self._norms[key].to(parameter.device) / norms)


def word_in(metadata: Mapping[str, str], otherwise: str) -> str:
    """Return the word that an embedding's file is for: as its header says, else its name, as in A1111."""
    try:
        (word,) = parse_json(metadata[EMBEDDING])
    except (KeyError, ValueError, TypeError):
        return otherwise
    return str(word)


def split_bundled(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the embeddings in an adapter file's tensors: by word, the vectors [n, D] of each text encoder.

    A1111's keys are `bundle_emb.WORD.string_to_param.*` (SD 1.x and 2.x; "" as text encoder), and
    `bundle_emb.WORD.clip_l` with `clip_g` (SDXL). Other tensors are left out.
    """
    parts = {name: part for part, name in _SDXL.items()}
    words: dict[str, dict[str, Tensor]] = {}
    for key, tensor in sorted(tensors.items()):
        if not key.startswith(BUNDLED) or tensor.ndim == 0:
            continue
        word, _, name = key.removeprefix(BUNDLED).partition(".")
        if name in parts or name.startswith("string_to_param.") or name == "emb_params":
            words.setdefault(word, {})[parts.get(name, "")] = tensor.reshape(-1, tensor.shape[-1]).float()
    return {word: dict(sorted(of.items())) for word, of in words.items()}
