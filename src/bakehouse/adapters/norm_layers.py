"""Norm layers beside any network: changes of their weight and bias, by LyCORIS' names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from bakehouse.adapters.layer import AdapterLayer, Base, ForwardPath, full_precision


class NormLayer(AdapterLayer):
    """One group or layer norm's `w_norm` and `b_norm` [channels]."""

    algorithm = "norm layers"
    suffixes: ClassVar[frozenset[str]] = frozenset({"w_norm", "b_norm"})

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.w_norm = nn.Parameter(weight)
        self.b_norm = None if bias is None else nn.Parameter(bias)

    @classmethod
    def fresh(cls, base: Base) -> Self:
        """Return a layer of zeros."""
        return cls(torch.zeros(base.weight.shape), None if base.bias is None else torch.zeros(base.bias.shape))

    @classmethod
    def recognizes(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "w_norm" in tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        """From a file's tensors.

        Raises:
            ValueError: the module is not a norm, or has another number of channels.
        """
        if not isinstance(base, nn.GroupNorm | nn.LayerNorm):
            raise ValueError(f"it holds {', '.join(tensors)}, but the module is {type(base).__name__}, not a norm")
        weight, bias = tensors["w_norm"].float().clone(), tensors.get("b_norm")
        if weight.shape != base.weight.shape or (bias is not None and bias.shape != weight.shape):
            raise ValueError(f"w_norm {tuple(weight.shape)} does not fit {base.weight.numel()} channels")
        if bias is not None and base.bias is None:
            raise ValueError("it holds b_norm, but the norm has no bias")
        return cls(weight, None if bias is None else bias.float().clone())

    def delta(self, weight: Tensor) -> Tensor:
        return self.w_norm

    def bias_delta(self, bias: Tensor | None) -> Tensor | None:
        beside = super().bias_delta(bias)
        return self.b_norm if beside is None else beside if self.b_norm is None else self.b_norm + beside

    def factors(self) -> list[nn.Parameter]:
        return [self.w_norm]

    def update_norm(self) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(self.w_norm)
        return length

    def forward_path(self, base: Base, x: Tensor) -> ForwardPath:
        return "weight" if full_precision(base, x) else "input"
