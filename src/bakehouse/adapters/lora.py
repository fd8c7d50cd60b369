"""LoRA and LoCon: ΔW = (alpha / rank) B A. Hu et al. 2021, arXiv:2106.09685; for convolutions as in LyCORIS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, dropout, linear

from bakehouse.adapters.layer import AdapterLayer, Base, Weight, compute_input
from bakehouse.adapters.network import Dim, NetworkSpec
from bakehouse.adapters.select import Site


class LoRA(NetworkSpec):
    """Low-rank adapters on linear maps and convolutions (LoCon)."""

    algo: ClassVar[str] = "locon"

    kind: Literal["lora"] = "lora"
    rs_lora: bool = False
    """The update counts alpha / sqrt(rank): Kalajdzievski 2023, arXiv:2312.03732."""

    def network_metadata(self) -> dict[str, Any]:
        # Everybody's loader knows plain LoRA as kohya's own.
        return {
            **super().network_metadata(),
            "ss_network_module": "networks.lora",
            "ss_network_args": self._conv_args(),
        }

    def layer(self, site: Site, dim: Dim, generator: torch.Generator | None) -> LoRALayer:
        rank, alpha = dim.rank, dim.alpha
        if self.rs_lora:
            # Files know alpha / rank only; this alpha makes that alpha / sqrt(rank), for every reader.
            alpha *= math.sqrt(rank)
        down, up = _shapes(site.module, rank)
        start = torch.empty(down)
        nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)
        return LoRALayer(
            start,
            torch.zeros(up),
            alpha,
            dropout=dim.dropout,
            rank_dropout=dim.rank_dropout,
            module_dropout=dim.module_dropout,
        )


def _shapes(base: Base, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A is (r, in[, k, k]), B is (out, r[, 1, 1])."""
    outs, ins, *kernel = base.weight.shape
    return (rank, ins, *kernel), (outs, rank, *([1] * len(kernel)))


class LoRALayer(AdapterLayer):
    """One module's A (`lora_down`), B (`lora_up`) and alpha."""

    algorithm = "LoRA"
    alpha: Tensor

    def __init__(
        self,
        down: Tensor,
        up: Tensor,
        alpha: float,
        *,
        dropout: float = 0.0,
        rank_dropout: float = 0.0,
        module_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.lora_down = Weight(down)
        self.lora_up = Weight(up)
        self.register_buffer("alpha", torch.tensor(float(alpha)))
        self.scale = float(alpha) / down.shape[0]
        self.dropout = dropout
        self.rank_dropout = rank_dropout
        self.module_dropout = module_dropout

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        # The state's alpha is the one that counts, not the settings'.
        self.scale = float(self.alpha) / self.rank

    @classmethod
    def reads(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "lora_down.weight" in tensors and "dora_scale" not in tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        """A layer from a file's tensors, in single precision.

        LoCon's Tucker core `lora_mid` [r, r, k, k] is multiplied into A, which changes nothing but the size.

        Raises:
            ValueError: a tensor is missing, or its shape is not the module's.
        """
        down, up = (tensors.get(f"lora_{side}.weight") for side in ("down", "up"))
        if down is None or up is None:
            raise ValueError(f"it holds {', '.join(tensors)} where lora_down.weight and lora_up.weight are expected")
        down, up = down.float(), up.float()
        if "lora_mid.weight" in tensors:
            down = torch.einsum("abkl,bi->aikl", tensors["lora_mid.weight"].float(), down.flatten(1))
        rank = int(down.shape[0])
        alpha = float(tensors["alpha"]) if "alpha" in tensors else float(rank)
        want_down, want_up = _shapes(base, rank)
        if down.numel() != math.prod(want_down) or up.numel() != math.prod(want_up):
            raise ValueError(
                f"A {tuple(down.shape)} and B {tuple(up.shape)} do not fit a weight of {tuple(base.weight.shape)}"
            )
        # A 1x1 convolution and a linear map hold the same numbers; files differ in which they say.
        return cls(down.reshape(want_down).clone(), up.reshape(want_up).clone(), alpha)

    @property
    def down(self) -> Tensor:
        return self.lora_down.weight

    @property
    def up(self) -> Tensor:
        return self.lora_up.weight

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    def delta(self, weight: Tensor) -> Tensor:
        product = self.up.flatten(1) @ self.down.flatten(1)
        return (product * self.scale).view(weight.shape)

    def added(self, base: Base, x: Tensor) -> Tensor:
        down, up = self.down, self.up
        x = compute_input(x, down)
        # Scaling the bottleneck is cheaper than scaling the output: it is rank wide.
        if isinstance(base, nn.Linear):
            return linear(self._dropped(linear(x, down) * self.scale, -1), up)
        assert isinstance(base, nn.Conv2d)
        h = conv2d(x, down, None, base.stride, base.padding, base.dilation)
        return conv2d(self._dropped(h * self.scale, 1), up)

    def skipped(self) -> bool:
        return self.training and self.module_dropout > 0 and float(torch.rand(())) < self.module_dropout

    def _dropped(self, h: Tensor, rank_dim: int) -> Tensor:
        if not self.training:
            return h
        if self.dropout:
            h = dropout(h, self.dropout)
        if self.rank_dropout:
            # One draw per sample and rank; what is kept counts more, so that the mean stays.
            shape = [1] * h.ndim
            shape[0], shape[rank_dim] = h.shape[0], h.shape[rank_dim]
            kept = torch.rand(shape, device=h.device) >= self.rank_dropout
            h = h * kept / (1 - self.rank_dropout)
        return h
