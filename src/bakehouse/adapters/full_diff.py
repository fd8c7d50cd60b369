"""The full difference: ΔW itself trains, as large as W. LyCORIS calls it `full`; a fine-tune that comes off again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from bakehouse.adapters.layer import BIAS, AdapterLayer, Base, ForwardPath, full_precision
from bakehouse.adapters.network_settings import LayerDims, NetworkSpec
from bakehouse.adapters.target_modules import Site


class FullDiff(NetworkSpec):
    """Every weight of the selected modules trains beside the base: strong and large as a fine-tune, but removable."""

    algo: ClassVar[str] = "full"
    unused_settings: ClassVar[frozenset[str]] = frozenset(
        {"rank", "alpha", "conv_rank", "conv_alpha", "dims", "dropout", "rank_dropout"}
    )

    kind: Literal["diff"] = "diff"

    def layer(self, site: Site, dim: LayerDims, generator: torch.Generator | None) -> DiffLayer:
        bias = site.module.bias
        made = DiffLayer(torch.zeros(site.module.weight.shape), None if bias is None else torch.zeros(bias.shape))
        made.module_dropout = dim.module_dropout
        return made

    def network_metadata(self) -> dict[str, Any]:
        return {**super().network_metadata(), "ss_network_dim": None, "ss_network_alpha": None}

    def _conv_args(self) -> dict[str, str]:
        return {}


class DiffLayer(AdapterLayer):
    """One module's `diff`, shaped as its weight, and `diff_b` where it has a bias; either may stand alone."""

    algorithm = "full difference"
    suffixes: ClassVar[frozenset[str]] = frozenset({"diff", BIAS})

    def __init__(self, diff: Tensor | None, diff_b: Tensor | None = None) -> None:
        super().__init__()
        self.diff = None if diff is None else nn.Parameter(diff)
        if diff_b is not None:
            self.register_parameter(BIAS, nn.Parameter(diff_b))

    @classmethod
    def recognizes(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "diff" in tensors or tensors.keys() == {BIAS}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        """From a file's tensors.

        Raises:
            ValueError: the shapes are not the module's.
        """
        made = cls(cls._fitted(tensors["diff"].float(), base) if "diff" in tensors else None)
        if BIAS in tensors:
            made.set_bias_delta(tensors[BIAS], base)
        return made

    @staticmethod
    def _fitted(diff: Tensor, base: Base) -> Tensor:
        if diff.numel() != base.weight.numel() or diff.shape[0] != base.weight.shape[0]:
            raise ValueError(f"diff {tuple(diff.shape)} does not fit a weight of {tuple(base.weight.shape)}")
        return diff.reshape(base.weight.shape).clone()

    def delta(self, weight: Tensor) -> Tensor:
        return torch.zeros_like(weight) if self.diff is None else self.diff

    def forward_path(self, base: Base, x: Tensor) -> ForwardPath:
        return "weight" if full_precision(base, x) else "input"
