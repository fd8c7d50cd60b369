"""Generalised LoRA: ΔW = (alpha / rank) (W A + B), A = a1 a2 and B = b1 b2 of low rank.

Chavan et al. 2023, arXiv:2306.07967, with those of its five matrices that LyCORIS' files hold. A re-mixes what the base
already takes in, B adds what it does not have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, dropout, linear

from bakehouse.adapters.layer import (
    Base,
    ForwardPath,
    ScaledLayer,
    Weight,
    compute_input,
    drop_channels,
    full_precision,
    linear_map,
    own_weight,
)
from bakehouse.adapters.network_settings import LayerDims, NetworkSpec
from bakehouse.adapters.target_modules import Site


class GLoRA(NetworkSpec):
    """LoRA that also transforms the base's inputs: two low-rank pairs for each module."""

    algo: ClassVar[str] = "glora"

    kind: Literal["glora"] = "glora"

    def layer(self, site: Site, dim: LayerDims, generator: torch.Generator | None) -> GLoRALayer:
        shapes = _shapes(site.module, dim.rank)
        tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
        for name in ("a1", "b1"):
            # As LyCORIS begins: the outer factors at random, the inner ones at zero.
            nn.init.kaiming_uniform_(tensors[name], a=math.sqrt(5), generator=generator)
        made = GLoRALayer(tensors, dim.alpha)
        made.dropout, made.rank_dropout, made.module_dropout = dim.dropout, dim.rank_dropout, dim.module_dropout
        return made


def _shapes(base: Base, rank: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a1 (in, r), a2 (r, in), b1 (out, r), b2 (r, in[, k, k]); convolutions add [1, 1]."""
    outs, ins, *kernel = base.weight.shape
    ones = [1] * len(kernel)
    return {
        "a1": (ins, rank, *ones),
        "a2": (rank, ins, *ones),
        "b1": (outs, rank, *ones),
        "b2": (rank, ins, *kernel),
    }


class GLoRALayer(ScaledLayer):
    """One module's four factors and alpha."""

    algorithm = "GLoRA"
    suffixes: ClassVar[frozenset[str]] = frozenset(
        {"a1.weight", "a2.weight", "b1.weight", "b2.weight", "bm.weight", "alpha"}
    )
    dropout: float = 0.0
    rank_dropout: float = 0.0

    def __init__(self, tensors: Mapping[str, Tensor], alpha: float) -> None:
        super().__init__()
        self.a1, self.a2 = Weight(tensors["a1"]), Weight(tensors["a2"])
        self.b1, self.b2 = Weight(tensors["b1"]), Weight(tensors["b2"])
        self.set_alpha(alpha)

    def alpha_over_rank(self) -> float:
        return float(self.alpha) / self.rank

    @classmethod
    def recognizes(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "a1.weight" in tensors and "b1.weight" in tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        """From a file's tensors; a Tucker core `bm` [r, r, k, k] is multiplied into b2, which changes only the size.

        Raises:
            ValueError: a tensor is missing, or its shape is not the module's.
        """
        own = {
            name: tensors[f"{name}.weight"].float() for name in ("a1", "a2", "b1", "b2") if f"{name}.weight" in tensors
        }
        if len(own) < 4:
            raise ValueError(f"it holds {', '.join(tensors)} where a1, a2, b1 and b2 are expected")
        if "bm.weight" in tensors:
            own["b2"] = torch.einsum("abkl,bi->aikl", tensors["bm.weight"].float(), own["b2"].flatten(1))
        rank = int(own["a2"].shape[0])
        shapes = _shapes(base, rank)
        for name, shape in shapes.items():
            if own[name].numel() != math.prod(shape):
                raise ValueError(f"{name} {tuple(own[name].shape)} does not fit a weight of {tuple(base.weight.shape)}")
        alpha = float(tensors["alpha"]) if "alpha" in tensors else float(rank)
        return cls({name: own[name].reshape(shape).clone() for name, shape in shapes.items()}, alpha)

    @property
    def rank(self) -> int:
        return int(self.a2.weight.shape[0])

    def delta(self, weight: Tensor) -> Tensor:
        a1, a2, b1, b2 = (factor.weight.flatten(1) for factor in (self.a1, self.a2, self.b1, self.b2))
        weight = weight.to(a1.dtype)
        mixed = (weight.movedim(1, -1) @ a1 @ a2).movedim(-1, 1)
        return (mixed + (b1 @ b2).view(weight.shape)) * self.scale

    def forward_path(self, base: Base, x: Tensor) -> ForwardPath:
        dropping = self.training and (self.dropout or self.rank_dropout)
        return "weight" if full_precision(base, x) and not dropping else "input"

    def delta_from_input(self, base: Base, x: Tensor) -> Tensor:
        """Return scale x (W (a1 a2 x) + b1 (b2 x)); dropouts apply to a2 x and b2 x."""
        x = compute_input(x, self.a1.weight)
        channels = 1 if isinstance(base, nn.Conv2d) else -1
        mixed = _point(base, self._dropped(_point(base, x, self.a2.weight), channels) * self.scale, self.a1.weight)
        new = self._dropped(linear_map(base, x, self.b2.weight), channels) * self.scale
        return linear_map(base, mixed, own_weight(base).to(mixed.dtype)) + _point(base, new, self.b1.weight)

    def _dropped(self, h: Tensor, channels: int) -> Tensor:
        if not self.training:
            return h
        if self.dropout:
            h = dropout(h, self.dropout)
        return drop_channels(h, channels, self.rank_dropout) if self.rank_dropout else h


def _point(base: Base, x: Tensor, weight: Tensor) -> Tensor:
    """Apply a linear map to the channels only, whatever the base's kernel."""
    return conv2d(x, weight) if isinstance(base, nn.Conv2d) else linear(x, weight)
