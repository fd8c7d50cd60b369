"""LoHa: ΔW = (alpha / rank) (W1a W1b) * (W2a W2b), elementwise. FedPara, Hyeon-Woo et al. 2022, arXiv:2108.06098.

Two products of rank r, multiplied element by element, reach rank r² with the numbers of rank 2r.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from bakehouse.adapters.dora import DecomposableLayer, DecomposableSpec, read_magnitudes
from bakehouse.adapters.layer import Base, ForwardPath, drop_channels, full_precision, linear_map
from bakehouse.adapters.network_settings import KERNELS, LayerDims, Probability
from bakehouse.adapters.target_modules import Site
from bakehouse.adapters.unet_blocks import MOST_ALPHA, MOST_RANK
from bakehouse.core.setting_needs import Needs, is_off

_NAMES = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")


class LoHa(DecomposableSpec):
    """Hadamard products of two low-rank pairs: a higher rank with as many parameters; combines well."""

    algo: ClassVar[str] = "loha"
    unused_settings = frozenset({"dropout"})

    kind: Literal["loha"] = "loha"
    rank: int = Field(32, ge=1, le=MOST_RANK)
    """Width of the bottleneck."""
    alpha: float = Field(16.0, gt=0, le=MOST_ALPHA)
    """The update is scaled by alpha / rank."""
    rank_dropout: Annotated[Probability, Needs(is_off("dora"))] = 0.0
    """Probability that a whole rank is dropped, for each sample."""
    tucker: Annotated[bool, *KERNELS] = False
    """3x3 convolutions through two cores of rank x rank x 3 x 3, which keeps the factors small."""

    def network_args(self) -> dict[str, str]:
        return {**super().network_args(), "use_tucker": str(self.tucker)}

    def layer(self, site: Site, dim: LayerDims, generator: torch.Generator | None) -> LoHaLayer:
        outs, ins, *kernel = site.module.weight.shape
        rank = dim.rank
        tensors: dict[str, Tensor] = {}
        shapes: dict[str, tuple[int, ...]]
        if self.tucker and site.is_kernel:
            shapes = {"t1": (rank, rank, *kernel), "t2": (rank, rank, *kernel)}
            shapes |= {f"w{i}_{side}": (rank, size) for i in (1, 2) for side, size in (("a", outs), ("b", ins))}
        else:
            wide = ins * math.prod(kernel)
            shapes = {"w1_a": (outs, rank), "w2_a": (outs, rank), "w1_b": (rank, wide), "w2_b": (rank, wide)}
        for name, shape in sorted(shapes.items()):
            # As LyCORIS begins; one factor at 0 makes ΔW 0.
            std = {"w2_a": 0.0, "w1_b": 1.0, "w2_b": 1.0}.get(name, 0.1)
            tensors[f"hada_{name}"] = torch.randn(shape, generator=generator) * std
        made = LoHaLayer(tensors, dim.alpha, magnitudes=self.magnitudes(site.module))
        made.rank_dropout, made.module_dropout = dim.rank_dropout, dim.module_dropout
        return made


def _with_core(a: Tensor, b: Tensor, core: Tensor | None) -> tuple[Tensor, Tensor]:
    return (a, b) if core is None else (a.mT, torch.einsum("ijkl,jr->irkl", core, b).flatten(1))


class LoHaLayer(DecomposableLayer):
    """One module's two pairs (`hada_w1_a` [out, r], `hada_w1_b` [r, in]; with cores [r, out] and [r, in]) and alpha."""

    algorithm = "LoHa"
    suffixes: ClassVar[frozenset[str]] = frozenset({*_NAMES, "hada_t1", "hada_t2", "alpha", "dora_scale"})
    zero_initialized = frozenset({"hada_w2_a"})
    hada_w1_a: nn.Parameter
    hada_w1_b: nn.Parameter
    hada_w2_a: nn.Parameter
    hada_w2_b: nn.Parameter
    hada_t1: nn.Parameter | None
    hada_t2: nn.Parameter | None
    rank_dropout: float = 0.0

    def __init__(self, tensors: Mapping[str, Tensor], alpha: float, *, magnitudes: Tensor | None = None) -> None:
        super().__init__(magnitudes)
        for name in (*_NAMES, "hada_t1", "hada_t2"):
            self.register_parameter(name, nn.Parameter(tensors[name]) if name in tensors else None)
        self.set_alpha(alpha)

    def alpha_over_rank(self) -> float:
        return float(self.alpha) / self.rank

    @classmethod
    def recognizes(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "hada_w1_a" in tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        names = list(_NAMES)
        if "hada_t1" in tensors or "hada_t2" in tensors:
            names += ["hada_t1", "hada_t2"]
        missing = [name for name in names if name not in tensors]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        rank = int(tensors["hada_w1_b"].shape[0])
        alpha = float(tensors["alpha"]) if "alpha" in tensors else float(rank)
        found = {name: tensors[name].float().clone() for name in names}
        layer = cls(found, alpha, magnitudes=read_magnitudes(tensors, base))
        shapes = [(left.shape[0], right.shape[1]) for left, right in layer.pairs()]
        outs = base.weight.shape[0]
        if any(shape != (outs, base.weight[0].numel()) for shape in shapes):
            raise ValueError(f"products of {shapes} do not fit a weight of {tuple(base.weight.shape)}")
        return layer

    @property
    def rank(self) -> int:
        return int(self.hada_w1_b.shape[0])

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Both products as [out, r] and [r, in x k x k]; a core is multiplied into the second."""
        return [
            _with_core(self.hada_w1_a, self.hada_w1_b, self.hada_t1),
            _with_core(self.hada_w2_a, self.hada_w2_b, self.hada_t2),
        ]

    def update(self, shape: torch.Size) -> Tensor:
        (a1, b1), (a2, b2) = self.pairs()
        product: Tensor = _Hadamard.apply(a1 * self.scale, b1, a2, b2)  # type: ignore[no-untyped-call]
        return product.view(shape)

    def factors(self) -> list[nn.Parameter]:
        return [self.hada_w1_a, self.hada_w1_b, self.hada_w2_a, self.hada_w2_b]

    def update_norm(self) -> Tensor:
        (a1, b1), (a2, b2) = self.pairs()
        product = (a1 @ b1) * (a2 @ b2)
        length: Tensor = torch.linalg.vector_norm(product * self.scale)
        return length

    def path_without_dora(self, base: Base, x: Tensor) -> ForwardPath:
        # ΔW is dense, so it may as well be put into the weight; dropouts are of ΔW's share alone.
        return "weight" if full_precision(base, x) and not (self.training and self.rank_dropout) else "input"

    def update_from_input(self, base: Base, x: Tensor) -> Tensor:
        out = linear_map(base, x, self.update(base.weight.shape).to(x.dtype))
        if self.training and self.rank_dropout:
            return drop_channels(out, 1 if isinstance(base, nn.Conv2d) else -1, self.rank_dropout)
        return out


class _Hadamard(torch.autograd.Function):
    """(A1 B1) * (A2 B2); only the factors are kept for the way back, where both products are made again."""

    @staticmethod
    def forward(ctx: FunctionCtx, a1: Tensor, b1: Tensor, a2: Tensor, b2: Tensor) -> Tensor:
        ctx.save_for_backward(a1, b1, a2, b2)
        # Products of products leave half precision's range soon.
        with torch.autocast(a1.device.type, enabled=False):
            return (a1 @ b1).mul_(a2 @ b2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        a1, b1, a2, b2 = ctx.saved_tensors
        first = (a2 @ b2).mul_(grad)
        second = (a1 @ b1).mul_(grad)
        return first @ b1.mT, a1.mT @ first, second @ b2.mT, a2.mT @ second
