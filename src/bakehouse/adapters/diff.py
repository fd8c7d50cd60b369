"""The full difference: ΔW itself trains, as large as W. LyCORIS calls it `full`; a fine-tune that comes off again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from bakehouse.adapters.layer import AdapterLayer, Base, Way, full_precision
from bakehouse.adapters.network import Dim, NetworkSpec
from bakehouse.adapters.select import Site


class FullDiff(NetworkSpec):
    """Every number of the chosen modules trains, beside the base: as strong as a fine-tune, as large, and removable."""

    algo: ClassVar[str] = "full"
    meaningless: ClassVar[frozenset[str]] = frozenset(
        {"rank", "alpha", "conv_rank", "conv_alpha", "dims", "dropout", "rank_dropout"}
    )

    kind: Literal["diff"] = "diff"

    def layer(self, site: Site, dim: Dim, generator: torch.Generator | None) -> DiffLayer:
        bias = site.module.bias
        made = DiffLayer(torch.zeros(site.module.weight.shape), None if bias is None else torch.zeros(bias.shape))
        made.module_dropout = dim.module_dropout
        return made

    def network_metadata(self) -> dict[str, Any]:
        return {**super().network_metadata(), "ss_network_dim": None, "ss_network_alpha": None}

    def _conv_args(self) -> dict[str, str]:
        return {}


class DiffLayer(AdapterLayer):
    """One module's `diff`, shaped as its weight, and `diff_b` where it has a bias."""

    algorithm = "full difference"

    def __init__(self, diff: Tensor, diff_b: Tensor | None) -> None:
        super().__init__()
        self.diff = nn.Parameter(diff)
        self.diff_b = None if diff_b is None else nn.Parameter(diff_b)

    @classmethod
    def reads(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "diff" in tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        """From a file's tensors.

        Raises:
            ValueError: the shapes are not the module's.
        """
        diff, diff_b = tensors["diff"].float(), tensors.get("diff_b")
        if diff.numel() != base.weight.numel() or diff.shape[0] != base.weight.shape[0]:
            raise ValueError(f"diff {tuple(diff.shape)} does not fit a weight of {tuple(base.weight.shape)}")
        if diff_b is not None and (base.bias is None or diff_b.shape != base.bias.shape):
            has = "none" if base.bias is None else str(tuple(base.bias.shape))
            raise ValueError(f"diff_b {tuple(diff_b.shape)} does not fit the module's bias: {has}")
        return cls(diff.reshape(base.weight.shape).clone(), None if diff_b is None else diff_b.float().clone())

    def delta(self, weight: Tensor) -> Tensor:
        return self.diff

    def bias_delta(self, bias: Tensor | None) -> Tensor | None:
        return self.diff_b

    def way(self, base: Base, x: Tensor) -> Way:
        return "weight" if full_precision(base, x) else "input"
