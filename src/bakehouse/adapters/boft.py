"""Butterfly OFT: W' = R_m ... R_1 W, sparse rotations that together mix all outputs. Liu et al. 2023, arXiv:2311.06243.

OFT rotates each block separately; stage i of a butterfly combines outputs that are 2^i b / 2 apart, so that
log2(blocks) + 1 stages of small blocks mix all outputs. Stages and their order are those of LyCORIS' files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from bakehouse.adapters.layer import Base, compute_input
from bakehouse.adapters.network_settings import LayerDims
from bakehouse.adapters.oft import RotationLayer, RotationSpec, cayley
from bakehouse.adapters.target_modules import Site
from bakehouse.core.errors import UsageError


class BOFT(RotationSpec):
    """Rotations in butterflies: mixes all outputs with few numbers; slower than OFT."""

    algo: ClassVar[str] = "boft"

    kind: Literal["boft"] = "boft"

    def layer(self, site: Site, dim: LayerDims, generator: torch.Generator | None) -> BOFTLayer:
        outs = site.module.weight.shape[0]
        size = butterfly_size(outs, self.block_size)
        if size == 0:
            raise UsageError(
                f"{site.name} has {outs} outputs, which 1, 2, 4, ... even blocks up to {self.block_size} do not fill",
                hint=f'{_smallest(outs)}leave it out with adapter.exclude = ["{site.path}"]',
            )
        return BOFTLayer(
            torch.zeros(stages(outs // size), outs // size, size, size),
            self.constraint,
            rescale=torch.ones(outs, *[1] * (site.module.weight.ndim - 1)) if self.rescaled else None,
            rank_dropout=dim.rank_dropout,
            module_dropout=dim.module_dropout,
        )


def butterfly_size(outs: int, most: int) -> int:
    """Return the largest even block size up to `most` with 2^p blocks; 0 if there is none."""
    return max(
        (b for b in range(2, min(most, outs) + 1, 2) if outs % b == 0 and (outs // b).bit_count() == 1), default=0
    )


def _smallest(outs: int) -> str:
    """Return the start of a hint: the smallest possible size, if there is one."""
    odd = outs // (outs & -outs)
    return "" if outs % 2 else f"set adapter.block_size = {2 * odd}, or "


def stages(blocks: int) -> int:
    """Return the number of stages that mix 2^p blocks: p + 1."""
    return blocks.bit_length()


class BOFTLayer(RotationLayer):
    """One module's blocks P [stages, count, n, n]."""

    algorithm = "BOFT"

    @classmethod
    def recognizes(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "oft_blocks" in tensors and tensors["oft_blocks"].ndim == 4

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        """From a file's tensors.

        Raises:
            ValueError: the blocks do not divide the module's outputs, or are no butterfly.
        """
        many, count, size, _ = tensors["oft_blocks"].shape
        if size % 2 or count.bit_count() != 1 or many > stages(count):
            raise ValueError(f"{many} stages of {count} blocks of {size} are not a butterfly")
        return super().from_tensors(tensors, base)

    def delta(self, weight: Tensor) -> Tensor:
        rows = weight.to(self.oft_blocks.dtype).reshape(1, weight.shape[0], -1)
        return (self._turn(rows) - rows).view(weight.shape)

    def delta_from_output(self, base: Base, x: Tensor, y: Tensor) -> Tensor:
        y = compute_input(y, self.oft_blocks)
        if isinstance(base, nn.Conv2d):
            rows = y.reshape(*y.shape[:2], -1)
            return (self._turn(rows) - rows).view(y.shape)
        rows = y.reshape(-1, y.shape[-1]).mT[None]
        return (self._turn(rows) - rows)[0].mT.reshape(y.shape)

    def _turn(self, rows: Tensor) -> Tensor:
        """Apply the stages one after the other to rows [batch, out, columns], then `rescale`."""
        # LyCORIS' rotation is the inverse of its OFT's: the turn of -P.
        turns = self.drop_blocks(cayley(-self.oft_blocks, self.max_skew_norm))
        half = turns.shape[-1] // 2
        batch, outs, columns = rows.shape
        for i, turn in enumerate(turns):
            # Output ((c * 2 + g) * 2^i + j) * half + r stands at place (r, g) of block (c, j).
            paired = rows.reshape(batch, -1, 2, 2**i, half, columns).permute(0, 1, 3, 4, 2, 5)
            mixed = turn @ paired.reshape(batch, turn.shape[0], 2 * half, columns)
            rows = mixed.view(batch, -1, 2**i, half, 2, columns).permute(0, 1, 4, 2, 3, 5).reshape(batch, outs, columns)
        if self.rescale is not None:
            rows = rows * self.rescale.view(-1, 1)
        return rows
