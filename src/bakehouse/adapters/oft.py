"""Orthogonal fine-tuning: W' = R W, R a block-diagonal rotation. Qiu et al. 2023, arXiv:2306.07280; files: Diag-OFT.

R rotates a module's outputs in blocks: norms of the columns of W and the angles between them are preserved, and with
them much of what the base knows. Each block is the Cayley transform of a skew matrix Q = P - P^T, and P is trained. As
in LyCORIS and kohya, R acts on the outputs; in the paper on the inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bakehouse.adapters.delta_autograd import rotated
from bakehouse.adapters.layer import (
    AdapterLayer,
    Base,
    ForwardPath,
    WeightAndGradients,
    compute_input,
    full_precision,
    many_rows,
    own_weight,
)
from bakehouse.adapters.network_settings import NEW, LayerDims, NetworkSpec, Probability
from bakehouse.adapters.target_modules import Site
from bakehouse.adapters.unet_blocks import MOST_ALPHA, MOST_RANK
from bakehouse.core.errors import UsageError
from bakehouse.core.setting_needs import Needs, is_off


class RotationSpec(NetworkSpec):
    """Settings that OFT and BOFT share."""

    unused_settings: ClassVar[frozenset[str]] = frozenset(
        {"rank", "alpha", "conv_rank", "conv_alpha", "dims", "dropout"}
    )

    module_settings: ClassVar[frozenset[str]] = NetworkSpec.module_settings | {"block_size", "block_count"}

    block_size: Annotated[int, NEW] = Field(4, ge=2, le=MOST_RANK)
    """Largest number of outputs rotated together: the largest size that divides a module's outputs is taken."""
    constraint: Annotated[float, NEW] = Field(0.0, ge=0, le=MOST_ALPHA)
    """Largest norm of Q for each output, which keeps R near the identity (COFT). 0: no limit; kohya's have 1e-3."""
    rescaled: Annotated[bool, NEW] = False
    """Also train one factor for each output."""
    rank_dropout: Probability = 0.0
    """Probability that a block is the identity in a step (BOFT's multiplicative dropout)."""

    def network_metadata(self) -> dict[str, Any]:
        # What LyCORIS calls dim is the size of a block, its alpha the constraint.
        return {**super().network_metadata(), "ss_network_dim": self.block_size, "ss_network_alpha": self.constraint}

    def network_args(self) -> dict[str, str]:
        return {"constraint": str(self.constraint), "rescaled": str(self.rescaled)}

    def configure_loaded(self, layer: AdapterLayer) -> None:
        # Files hold blocks within the constraint and do not say it; one that does keeps its own.
        if isinstance(layer, RotationLayer) and layer.constraint == 0:
            layer.alpha.fill_(self.constraint)
            layer.constraint = float(layer.alpha)

    def _conv_args(self) -> dict[str, str]:
        return {}


class OFT(RotationSpec):
    """Rotations in blocks (Diag-OFT): keeps the angles between neurons; steady, and small with small blocks."""

    algo: ClassVar[str] = "diag-oft"

    kind: Literal["oft"] = "oft"
    block_size: Annotated[int, NEW, Needs(is_off("block_count"))] = Field(4, ge=2, le=MOST_RANK)
    """Largest number of outputs rotated together: the largest size that divides a module's outputs is taken."""
    block_count: Annotated[int, NEW] = Field(0, ge=0, le=MOST_RANK)
    """Number of blocks in every module, instead of block_size, as in kohya's networks.oft."""

    @property
    def settable(self) -> frozenset[str]:
        return super().settable - (frozenset({"block_size"}) if self.block_count else frozenset())

    def network_args(self) -> dict[str, str]:
        counted = {"block_count": str(self.block_count)} if self.block_count else {}
        return {**super().network_args(), **counted}

    def layer(self, site: Site, dim: LayerDims, generator: torch.Generator | None) -> OFTLayer:
        outs = site.module.weight.shape[0]
        if self.block_count and outs % self.block_count:
            raise UsageError(
                f"{site.name} has {outs} outputs, which {self.block_count} blocks do not fill evenly",
                hint=f'choose another adapter.block_count, or leave it out with adapter.exclude = ["{site.path}"]',
            )
        size = outs // self.block_count if self.block_count else block_size(outs, self.block_size)
        if size < 2:
            raise UsageError(
                f"{site.name} has {outs} outputs, which no block of 2 to {self.block_size} divides",
                hint=f'choose another adapter.block_size, or leave it out with adapter.exclude = ["{site.path}"]',
            )
        return OFTLayer(
            torch.zeros(outs // size, size, size),
            self.constraint,
            rescale=torch.ones(outs, *[1] * (site.module.weight.ndim - 1)) if self.rescaled else None,
            rank_dropout=dim.rank_dropout,
            module_dropout=dim.module_dropout,
        )


def block_size(outs: int, most: int) -> int:
    """Return the largest divisor of `outs` up to `most`; LyCORIS reads those up to the square root of `outs`."""
    return max(size for size in range(1, min(most, outs) + 1) if outs % size == 0)


def cayley(blocks: Tensor, limit: float = 0.0) -> Tensor:
    """Return the rotations (I + Q)^-1 (I - Q) of Q = P - P^T for P [..., n, n]; -P gives the inverse.

    Args:
        limit: largest norm of all of Q; a larger one is scaled down. 0: no limit.
    """
    q = blocks - blocks.mT
    if limit > 0:
        # The clamp stands inside the division: at Q = 0 there is nothing to divide by, and no gradient either.
        q = q * (limit / torch.linalg.vector_norm(q).clamp(min=limit))
    turn: Tensor = _Cayley.apply(q)  # type: ignore[no-untyped-call]
    return turn


class _Cayley(torch.autograd.Function):
    """R = (I + Q)^-1 (I - Q), and the gradient for Q from R alone: autograd would solve with I + Q once more."""

    @staticmethod
    def forward(ctx: Any, q: Tensor) -> Tensor:
        # With Q skew, I - Q is the transpose of I + Q, which is never singular: no check, no wait for the device.
        plus = q.clone()
        plus.diagonal(dim1=-2, dim2=-1).add_(1)
        turn: Tensor = torch.linalg.solve_ex(plus, plus.mT).result
        ctx.save_for_backward(turn)
        return turn

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # R = 2 (I + Q)^-1 - I, so that dR = -2 (I + Q)^-1 dQ (I + Q)^-1 = -1/2 (I + R) dQ (I + R).
        (turn,) = ctx.saved_tensors
        left = grad + turn.mT @ grad
        both: Tensor = (left + left @ turn.mT) * -0.5
        return both


class RotationLayer(AdapterLayer):
    """Layers of OFT and BOFT: `oft_blocks` are P, `alpha` is the constraint, `rescale` [out, 1...] is optional."""

    suffixes: ClassVar[frozenset[str]] = frozenset({"oft_blocks", "alpha", "rescale"})

    alpha: Tensor

    def __init__(
        self,
        blocks: Tensor,
        constraint: float,
        *,
        rescale: Tensor | None = None,
        rank_dropout: float = 0.0,
        module_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.oft_blocks = nn.Parameter(blocks)
        self.rescale = None if rescale is None else nn.Parameter(rescale)
        self.register_buffer("alpha", torch.tensor(float(constraint)))
        # As the state holds it, in single precision: a resumed run must have the same number.
        self.constraint = float(self.alpha)
        self.rank_dropout = rank_dropout
        self.module_dropout = module_dropout

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        # The state's constraint is the one that counts, not the settings'.
        self.constraint = float(self.alpha)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        """From a file's tensors; a file without alpha has no constraint.

        Raises:
            ValueError: the blocks do not divide the module's outputs.
        """
        outs, *rest = base.weight.shape
        blocks = tensors["oft_blocks"].float()
        count, size, other = blocks.shape[-3:]
        if size != other or count * size != outs:
            raise ValueError(f"blocks {tuple(blocks.shape)} do not fit a weight of {tuple(base.weight.shape)}")
        rescale = tensors.get("rescale")
        if rescale is not None:
            if rescale.numel() != outs:
                raise ValueError(f"rescale {tuple(rescale.shape)} does not fit {outs} outputs")
            rescale = rescale.float().reshape(outs, *[1] * len(rest)).clone()
        alpha = float(tensors["alpha"]) if "alpha" in tensors else 0.0
        return cls(blocks.clone(), alpha, rescale=rescale)

    def file_dict(self) -> dict[str, Tensor]:
        """Return the blocks with the constraint applied, and constraint 0.

        ComfyUI reads a file's constraint as the norm of all of Q, LyCORIS and A1111 multiply it by the outputs.
        """
        state = self.state_dict()
        if self.max_skew_norm <= 0:
            return state
        length = torch.linalg.vector_norm(self.oft_blocks - self.oft_blocks.mT)
        held = self.oft_blocks * (self.max_skew_norm / length.clamp(min=self.max_skew_norm))
        return {**state, "oft_blocks": held, "alpha": torch.zeros_like(self.alpha)}

    @property
    def max_skew_norm(self) -> float:
        """The largest norm of Q."""
        return self.constraint * self.oft_blocks.shape[-3] * self.oft_blocks.shape[-1]

    def forward_path(self, base: Base, x: Tensor) -> ForwardPath:
        # W + ΔW costs a gradient as large as W, k x k times dearer for kernels: there the output is turned.
        return "weight" if full_precision(base, x) and isinstance(base, nn.Linear) else "output"

    def drop_blocks(self, turn: Tensor) -> Tensor:
        """Apply block dropout to rotations [..., n, n]: dropped ones are the identity, so that nothing is rescaled."""
        if not (self.training and self.rank_dropout):
            return turn
        kept = torch.rand(turn.shape[:-2], device=turn.device)[..., None, None] >= self.rank_dropout
        return torch.where(kept, turn, torch.eye(turn.shape[-1], device=turn.device, dtype=turn.dtype))


class OFTLayer(RotationLayer):
    """One module's blocks P [count, n, n]."""

    algorithm = "OFT"

    @classmethod
    def recognizes(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "oft_blocks" in tensors and tensors["oft_blocks"].ndim == 3

    def forward_path(self, base: Base, x: Tensor) -> ForwardPath:
        if not full_precision(base, x) or (isinstance(base, nn.Linear) and not many_rows(base, x)):
            return "output"
        return "weight" if isinstance(base, nn.Linear) or self._is_invertible(base) else "output"

    def _is_invertible(self, base: Base) -> bool:
        """Return whether W x can be computed from R W x: R is orthogonal, and W the base's own."""
        return self.rescale is None and own_weight(base) is base.weight

    def change(self) -> Tensor:
        """R - I, or diag(rescale) R - I: blocks [count, n, n], zero at init to the bit."""
        turn = self.drop_blocks(cayley(self.oft_blocks, self.max_skew_norm))
        if self.rescale is not None:
            turn = turn * self.rescale.view(*turn.shape[:-1], 1)
        return turn - torch.eye(turn.shape[-1], device=turn.device, dtype=turn.dtype)

    def delta(self, weight: Tensor) -> Tensor:
        return _by_blocks(self.change(), weight)

    def weight_and_gradients(self, base: Base, multiplier: float) -> WeightAndGradients | None:
        # Half of a rotation is none, and cannot be taken back from the output.
        if multiplier != 1.0 or not self._is_invertible(base):
            return None
        turn = self.drop_blocks(cayley(self.oft_blocks, self.max_skew_norm))
        fixed = turn.detach()
        channels = 1 if isinstance(base, nn.Conv2d) else -1
        return lambda: _by_blocks(fixed, base.weight), lambda x, out: rotated(out, turn, base.bias, channels=channels)

    def delta_from_output(self, base: Base, x: Tensor, y: Tensor) -> Tensor:
        """(R - I) y, by blocks: no matrix of [out, out] is made."""
        change = self.change()
        y = compute_input(y, change)
        count, size, _ = change.shape
        if isinstance(base, nn.Conv2d):
            return (change @ y.reshape(-1, count, size, math.prod(y.shape[2:]))).view(y.shape)
        rows = y.reshape(-1, count, size).transpose(0, 1)
        return (rows @ change.mT).transpose(0, 1).reshape(y.shape)


def _by_blocks(blocks: Tensor, weight: Tensor) -> Tensor:
    """Blocks [count, n, n] times the rows of a weight [out, ...]."""
    rows = weight.to(blocks.dtype).reshape(*blocks.shape[:2], -1)
    return (blocks @ rows).view(weight.shape)
