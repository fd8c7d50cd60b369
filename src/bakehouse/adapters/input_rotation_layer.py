"""PEFT's OFT and BOFT: W' = diag(s) W Rᵀ, rotations of a module's inputs; bakehouse's own rotate outputs.

Read and merged, not trained. `peft_format.standardize` computes the rotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from bakehouse.adapters.layer import AdapterLayer, Base, ForwardPath, full_precision


class InputRotationLayer(AdapterLayer):
    """One module's rotations `rotations` [stages, count, n, n], and `out_factors` [out] where there are some (BOFT)."""

    algorithm = "rotation of inputs (PEFT's OFT and BOFT)"
    suffixes: ClassVar[frozenset[str]] = frozenset({"rotations", "out_factors"})

    def __init__(self, rotations: Tensor, out_factors: Tensor | None) -> None:
        super().__init__()
        self.rotations = nn.Parameter(rotations)
        self.out_factors = None if out_factors is None else nn.Parameter(out_factors)

    @classmethod
    def recognizes(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "rotations" in tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        """From a file's tensors; a single block of OFT is shared by all inputs (`block_share`).

        Raises:
            ValueError: the blocks do not fill the module's inputs, or PEFT has no one meaning for them.
        """
        rotations, factors = tensors["rotations"].float(), tensors.get("out_factors")
        inputs = base.weight[0].numel()
        stages, count, size, _ = rotations.shape
        if isinstance(base, nn.Conv2d) and tuple(base.kernel_size) != (1, 1) and factors is None:
            raise ValueError(
                "it is PEFT's OFT on a kernel larger than 1x1, which PEFT merges differently than it trains"
            )
        if factors is None and count == 1 and inputs % size == 0:
            rotations, count = rotations.repeat(1, inputs // size, 1, 1), inputs // size
        if count * size != inputs:
            raise ValueError(f"{count} blocks of {size} do not fit a weight of {tuple(base.weight.shape)}")
        if stages > 1 and (size % 2 or count % 2 ** (stages - 1)):
            raise ValueError(f"{stages} stages of {count} blocks of {size} are not a butterfly")
        if factors is not None and factors.numel() != base.weight.shape[0]:
            raise ValueError(f"boft_s {tuple(factors.shape)} does not fit {base.weight.shape[0]} outputs")
        return cls(rotations.clone(), None if factors is None else factors.float().flatten().clone())

    def delta(self, weight: Tensor) -> Tensor:
        rows = weight.float().flatten(1).mT
        for stage, blocks in enumerate(self.rotations):
            order = self._order(stage, len(rows)).to(rows.device)
            # P B Pᵀ: into the order of the blocks, turned, and back.
            sorted_rows = torch.empty_like(rows).index_copy(0, order, rows)
            turned = blocks @ sorted_rows.reshape(*blocks.shape[:2], -1)
            rows = turned.reshape(rows.shape)[order]
        whole = rows.mT
        if self.out_factors is not None:
            whole = whole * self.out_factors[:, None]
        return whole.reshape(weight.shape) - weight

    def _order(self, stage: int, inputs: int) -> Tensor:
        """Return the position of each input in a stage of a butterfly: halves of blocks, every other one first."""
        stages, count, size, _ = self.rotations.shape
        places = torch.arange(inputs)
        if stages == 1:
            return places
        blocks = count // 2**stage
        return places.view(blocks, -1, 2, size // 2).transpose(1, 2).reshape(-1)

    def forward_path(self, base: Base, x: Tensor) -> ForwardPath:
        return "weight" if full_precision(base, x) else "input"
