"""DyLoRA: a LoRA whose first ranks are an adapter of their own. Valipour et al. 2022, arXiv:2210.07558; files as LoRA.

Each call in training draws a rank b and runs with the first b ranks alone: (alpha / rank) B[:, :b] A[:b]. So the ranks
come out sorted by what they are worth, and `weights.dylora_slices` cuts any rank out of one file.

The paper counts alpha / b: there a rank weighs less the more follow it, so that what the first ones learned is wrong
again when more are added. kohya runs all ranks at alpha / sqrt(rank b) and teaches one unit of them. With alpha / rank
a prefix is the first terms of the whole sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bakehouse.adapters.layer import AdapterLayer, Base, ForwardPath
from bakehouse.adapters.lora import LoRALayer
from bakehouse.adapters.network_settings import LayerDims, NetworkSpec
from bakehouse.adapters.target_modules import Site

PREFIX_SCALE = "alpha/rank"
"""Value of the header key `prefix_scale` for a file whose prefixes are scaled by alpha / rank."""


class DyLoRA(NetworkSpec):
    """LoRA of every rank at once: train a high rank, slice to the needed rank afterwards."""

    algo: ClassVar[str] = "dylora"
    is_product: ClassVar[bool] = True

    kind: Literal["dylora"] = "dylora"
    unit: int = Field(4, ge=1)
    """Step between the ranks that can be sliced; ranks must be multiples of it."""

    @model_validator(mode="after")
    def _units_fill_the_rank(self) -> Self:
        for name in ("rank", "conv_rank"):
            if getattr(self, name) % self.unit:
                raise ValueError(f"{name} = {getattr(self, name)} is not a multiple of unit = {self.unit}")
        return self

    def network_metadata(self) -> dict[str, Any]:
        metadata = super().network_metadata()
        return {**metadata, "ss_network_module": "networks.dylora", "ss_network_args": self._kohya_args()}

    def _kohya_args(self) -> dict[str, str]:
        return {**self._conv_args(), "unit": str(self.unit), "prefix_scale": PREFIX_SCALE}

    def configure_loaded(self, layer: AdapterLayer) -> None:
        if isinstance(layer, DyLoRALayer):
            layer.unit = self.unit

    def layer(self, site: Site, dim: LayerDims, generator: torch.Generator | None) -> DyLoRALayer:
        outs, ins, *kernel = site.module.weight.shape
        down = torch.empty(dim.rank, ins, *kernel)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
        up = torch.zeros(outs, dim.rank, *[1] * len(kernel))
        made = DyLoRALayer(
            down, up, dim.alpha, dropout=dim.dropout, rank_dropout=dim.rank_dropout, module_dropout=dim.module_dropout
        )
        made.unit = self.unit
        return made


class DyLoRALayer(LoRALayer):
    """A LoRA layer that runs with its first ranks alone, drawn anew at each call of training; all of them otherwise."""

    unit: int = 1

    def path_without_dora(self, base: Base, x: Tensor) -> ForwardPath:
        # A step runs with some of the ranks, which ΔW does not know.
        return "input" if self.training else super().path_without_dora(base, x)

    def update_from_input(self, base: Base, x: Tensor) -> Tensor:
        if not self.training:
            return super().update_from_input(base, x)
        # From torch's own numbers, on the CPU, as dropouts are: the loop seeds them, and checkpointing replays them.
        units = 1 + int(torch.randint(math.ceil(self.rank / self.unit), ()))
        return self._through(base, x, self.down[: units * self.unit], self.up[:, : units * self.unit])

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        if "lora_mid.weight" in tensors:
            raise ValueError("it has a Tucker core, whose first ranks do not work alone")
        return super().from_tensors(tensors, base)


DyLoRA.reader = DyLoRALayer
