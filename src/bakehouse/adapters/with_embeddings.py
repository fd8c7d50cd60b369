"""An adapter together with embeddings: pivotal tuning (Roich et al. 2021, arXiv:2106.05744, for diffusion models)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from bakehouse.adapters.adapter import Adapter, AdapterSpecBase, LayerAdapter, check_fit
from bakehouse.adapters.embedding import EmbeddingAdapter
from bakehouse.adapters.layer import StrengthByPlace

Network = TypeVar("Network", bound=Adapter)


class AdapterWithEmbeddings(Adapter, Generic[Network]):
    """An adapter and embeddings that were trained with it.

    The strength is the adapter's; at 0 the words are off too.
    """

    def __init__(self, network: Network, embeddings: EmbeddingAdapter) -> None:
        self.network = network
        self.embeddings = embeddings
        self.trains_base = network.trains_base

    @property
    def spec(self) -> AdapterSpecBase | None:  # type: ignore[override]
        """The settings of the adapter."""
        return self.network.spec

    @property
    def multiplier(self: AdapterWithEmbeddings[LayerAdapter]) -> float:
        """The strength on the denoising network."""
        return self.network.multiplier

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.network.named_parameters()
        yield from self.embeddings.named_parameters()

    def is_text(self, name: str) -> bool:
        return self._is_embedding(name) or self.network.is_text(name)

    def lr_multiplier(self, name: str) -> float:
        return 1.0 if self._is_embedding(name) else self.network.lr_multiplier(name)

    def module_names(self) -> list[str]:
        return self.network.module_names()

    def state_dict(self) -> dict[str, Tensor]:
        return {**self.network.state_dict(), **self.embeddings.state_dict()}

    def file_dict(self) -> dict[str, Tensor]:
        return {**self.network.file_dict(), **self.embeddings.file_dict()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        own = self.embeddings.state_dict()
        check_fit(own, {name: t for name, t in state.items() if name in own})
        self.network.load_state_dict({name: t for name, t in state.items() if name not in own})
        self.embeddings.load_state_dict({name: state[name] for name in own})

    @contextlib.contextmanager
    def scaled(
        self, multiplier: float, *, text: float | None = None, by_place: StrengthByPlace | None = None
    ) -> Iterator[None]:
        """Set the adapter's strength inside a `with` block; `text` and `by_place` are for adapters of layers."""
        on_text = multiplier if text is None else text
        given = {"text": text, "by_place": by_place}
        more: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        with self.network.scaled(multiplier, **more), self.embeddings.switched(on_text != 0):
            yield

    def merge_into(self, *, keep: bool = True) -> None:
        self.network.merge_into(keep=keep)

    def unmerge(self) -> None:
        self.network.unmerge()

    def remove(self) -> None:
        self.network.remove()
        self.embeddings.remove()

    def keep_base(self) -> None:
        self.network.keep_base()

    def train(self, mode: bool = True) -> Self:
        self.network.train(mode)
        return self

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        self.network.to(device, dtype)
        self.embeddings.to(device, dtype)
        return self

    def begin_step(self, share: float) -> None:
        self.network.begin_step(share)
        self.embeddings.begin_step(share)

    def apply_max_norm(self) -> None:
        self.network.apply_max_norm()
        self.embeddings.apply_max_norm()

    def parameter_groups(self, unet_lr: float, text_lr: float | None = None) -> list[dict[str, Any]]:
        groups = self.network.parameter_groups(unet_lr, text_lr)
        return [*groups, *self.embeddings.parameter_groups(unet_lr, text_lr)]

    def _is_embedding(self, name: str) -> bool:
        return any(name == key for key, _ in self.embeddings.named_parameters())
