"""LoKr: ΔW = scale x W1 (x) W2, a Kronecker product; either factor may be of low rank. LyCORIS, arXiv:2309.14859.

With out = a b and in = c d, W1 is [a, c] and W2 is [b, d]; x [c d] seen as a matrix X [c, d] goes to W1 X W2ᵀ, which
takes (b + c b / d) / out of the work of a dense ΔW and makes none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from bakehouse.adapters.delta_autograd import kronecker
from bakehouse.adapters.dora import DecomposableLayer, DecomposableSpec, read_magnitudes
from bakehouse.adapters.layer import (
    Base,
    ForwardPath,
    WeightAndGradients,
    compute_input,
    drop_channels,
    full_precision,
    many_rows,
)
from bakehouse.adapters.network_settings import KERNELS, NEW, LayerDims, Probability
from bakehouse.adapters.target_modules import Site
from bakehouse.adapters.unet_blocks import MOST_ALPHA, MOST_RANK
from bakehouse.core.setting_needs import Needs, is_off

_NAMES = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
_OF_LOW_RANK = frozenset({"rank", "alpha", "conv_rank", "conv_alpha", "decompose_both", "tucker"})


class LoKr(DecomposableSpec):
    """Kronecker products: small files, fast training; learning rate 5e-5 to 8e-5."""

    algo: ClassVar[str] = "lokr"
    unused_settings = frozenset({"dropout"})

    kind: Literal["lokr"] = "lokr"
    rank: int = Field(32, ge=1, le=1_000_000)
    """Width of the bottleneck; at half of a factor's size and above, that factor is whole."""
    alpha: float = Field(16.0, gt=0, le=MOST_ALPHA)
    """The update is scaled by alpha / rank."""
    rank_dropout: Annotated[Probability, Needs(is_off("dora"))] = 0.0
    """Probability that a whole rank is dropped, for each sample."""
    factor: Annotated[int, NEW] = Field(-1, ge=-1, le=MOST_RANK)
    """The smaller factor's size, at most; -1: both about the square root of the layer's size. Smaller: larger files."""
    decompose_both: Annotated[bool, NEW] = False
    """The smaller factor is of low rank as well, where that is smaller."""
    full_matrix: Annotated[bool, NEW] = False
    """No low rank: both factors whole."""
    unbalanced_factorization: Annotated[bool, NEW] = False
    """The smaller factor is the taller one: LyCORIS' option of the same name."""
    tucker: Annotated[bool, *KERNELS] = False
    """3x3 convolutions' larger factor through a core of rank x rank x 3 x 3."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.factor == 0:
            raise ValueError("factor = 0: a size, or -1 for the square root of the layer's size")
        if self.full_matrix:
            for name in sorted(self.model_fields_set & _OF_LOW_RANK):
                if getattr(self, name) != type(self).model_fields[name].get_default():
                    raise ValueError(f"{name} has no effect with full_matrix = true: leave one of them out")
        return self

    @property
    def settable(self) -> frozenset[str]:
        return super().settable - (_OF_LOW_RANK if self.full_matrix else frozenset())

    def network_args(self) -> dict[str, str]:
        names = ("factor", "decompose_both", "full_matrix", "unbalanced_factorization")
        own = {name: str(getattr(self, name)) for name in names}
        return {**super().network_args(), "use_tucker": str(self.tucker), **own}

    def layer(self, site: Site, dim: LayerDims, generator: torch.Generator | None) -> LoKrLayer:
        outs, ins, *kernel = site.module.weight.shape
        (a, b), (c, d) = factorize(outs, self.factor), factorize(ins, self.factor)
        if self.unbalanced_factorization:
            a, b = b, a
        rank = dim.rank
        shapes: dict[str, tuple[int, ...]] = {}
        if self.decompose_both and rank < max(a, c) / 2 and not self.full_matrix:
            shapes |= {"lokr_w1_a": (a, rank), "lokr_w1_b": (rank, c)}
        else:
            shapes["lokr_w1"] = (a, c)
        if self.full_matrix or rank >= max(b, d) / 2:
            shapes["lokr_w2"] = (b, d, *kernel)
        elif self.tucker and site.is_kernel:
            shapes |= {"lokr_t2": (rank, rank, *kernel), "lokr_w2_a": (rank, b), "lokr_w2_b": (rank, d)}
        else:
            shapes |= {"lokr_w2_a": (b, rank), "lokr_w2_b": (rank, d * math.prod(kernel))}
        tensors = {name: _start(name, shape, generator) for name, shape in shapes.items()}
        whole = "lokr_w1" in tensors and "lokr_w2" in tensors
        made = LoKrLayer(
            tensors, float(rank) if whole else dim.alpha, tuple(kernel), magnitudes=self.magnitudes(site.module)
        )
        made.rank_dropout, made.module_dropout = dim.rank_dropout, dim.module_dropout
        return made


def _start(name: str, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Initialize the factors as LyCORIS does: the larger factor is 0."""
    if name in ("lokr_w2", "lokr_w2_b"):
        return torch.zeros(shape)
    return nn.init.kaiming_uniform_(torch.empty(shape), a=math.sqrt(5), generator=generator)


def factorize(size: int, factor: int) -> tuple[int, int]:
    """`size` as m x n, m <= n: m = factor where that divides it, else the most even split with m <= factor (-1: any).

    LyCORIS' rule, so that files of both have the same shapes: 320 and -1 are 16 x 20, 320 and 8 are 8 x 40.
    """
    if factor > 0 and size % factor == 0:
        return min(factor, size // factor), max(factor, size // factor)
    most = math.isqrt(size) if factor < 0 else min(factor, math.isqrt(size))
    m = next(m for m in range(most, 0, -1) if size % m == 0)
    return m, size // m


class LoKrLayer(DecomposableLayer):
    """One module's two factors, whole or as pairs, and alpha.

    The update counts alpha / rank where a factor is a pair, and once where both are whole: all readers hold it so.
    """

    algorithm = "LoKr"
    suffixes: ClassVar[frozenset[str]] = frozenset({*_NAMES, "alpha", "dora_scale"})
    zero_initialized = frozenset({"lokr_w2", "lokr_w2_b"})
    lokr_w1: nn.Parameter | None
    lokr_w1_a: nn.Parameter
    lokr_w1_b: nn.Parameter
    lokr_w2: nn.Parameter | None
    lokr_w2_a: nn.Parameter
    lokr_w2_b: nn.Parameter
    lokr_t2: nn.Parameter | None
    rank_dropout: float = 0.0

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        alpha: float,
        kernel: tuple[int, ...] = (),
        *,
        magnitudes: Tensor | None = None,
    ) -> None:
        super().__init__(magnitudes)
        for name in _NAMES:
            self.register_parameter(name, nn.Parameter(tensors[name]) if name in tensors else None)
        self.kernel = kernel
        self.set_alpha(alpha)

    def alpha_over_rank(self) -> float:
        pair = self.lokr_w1_b if self.lokr_w1 is None else self.lokr_w2_b if self.lokr_w2 is None else None
        return 1.0 if pair is None else float(self.alpha) / pair.shape[0]

    @classmethod
    def recognizes(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "lokr_w1" in tensors or "lokr_w1_a" in tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        for one in ("lokr_w1", "lokr_w2"):
            if one not in tensors and not {f"{one}_a", f"{one}_b"} <= tensors.keys():
                raise ValueError(f"it holds neither {one} nor {one}_a and {one}_b")
        found = {name: tensors[name].float().clone() for name in _NAMES if name in tensors}
        pairs = [found[name] for name in ("lokr_w1_b", "lokr_w2_b") if name in found]
        rank = float(pairs[0].shape[0]) if pairs else 1.0
        alpha = float(tensors["alpha"]) if "alpha" in tensors else rank
        kernel = tuple(base.weight.shape[2:])
        layer = cls(found, alpha, kernel, magnitudes=read_magnitudes(tensors, base))
        try:
            (a, c), (b, d) = layer.small().shape, layer.large().shape[:2]
        except RuntimeError as e:
            raise ValueError(f"its factors do not fit each other or a kernel of {kernel}: {e}") from e
        if (a * b, c * d) != tuple(base.weight.shape[:2]):
            raise ValueError(f"factors {a}x{c} and {b}x{d} do not fit a weight of {tuple(base.weight.shape)}")
        return layer

    def small(self) -> Tensor:
        """W1 [a, c]."""
        if self.lokr_w1 is not None:
            return self.lokr_w1
        return self.lokr_w1_a @ self.lokr_w1_b

    def large(self) -> Tensor:
        """W2 [b, d, ...], scale included."""
        if self.lokr_w2 is not None:
            whole = self.lokr_w2.view(*self.lokr_w2.shape[:2], *self.kernel)
            return whole if self.scale == 1.0 else whole * self.scale
        a, b = self.lokr_w2_a * self.scale, self.lokr_w2_b
        if self.lokr_t2 is not None:
            return torch.einsum("ijkl,ip,jr->prkl", self.lokr_t2, a, b)
        return (a @ b.flatten(1)).view(a.shape[0], -1, *self.kernel)

    def factors(self) -> list[nn.Parameter]:
        names = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")
        return [p for name in names if (p := getattr(self, name)) is not None]

    def update_norm(self) -> Tensor:
        """||W1 (x) W2|| = ||W1|| ||W2||."""
        length: Tensor = torch.linalg.vector_norm(self.small()) * torch.linalg.vector_norm(self.large())
        return length

    def update(self, shape: torch.Size) -> Tensor:
        small = self.small()
        return torch.kron(small.view(*small.shape, *[1] * len(self.kernel)), self.large().contiguous()).view(shape)

    def path_without_dora(self, base: Base, x: Tensor) -> ForwardPath:
        dropped = self.training and self.rank_dropout
        fits = isinstance(base, nn.Linear) and full_precision(base, x) and many_rows(base, x)
        return "weight" if fits and not dropped else "input"

    def weight_and_gradients(self, base: Base, multiplier: float) -> WeightAndGradients | None:
        if self.dora_scale is not None:
            return None

        @torch.no_grad()
        def make() -> Tensor:
            return torch.add(base.weight, self.update(base.weight.shape), alpha=multiplier)

        small, scale = self.small(), self.scale * multiplier
        up, down = (self.lokr_w2_a, self.lokr_w2_b) if self.lokr_w2 is None else (self.lokr_w2, None)
        return make, lambda x, out: kronecker(out, x, small, up * scale, down)

    def update_from_input(self, base: Base, x: Tensor) -> Tensor:
        small, large = self.small(), self.large()
        x = compute_input(x, small)
        if isinstance(base, nn.Conv2d):
            out, channels = _kron_conv(base, x, small, large), 1
        else:
            out, channels = _kron_linear(x, small, large), -1
        if self.training and self.rank_dropout:
            return drop_channels(out, channels, self.rank_dropout)
        return out


def _kron_linear(x: Tensor, small: Tensor, large: Tensor) -> Tensor:
    """W1 X W2ᵀ for each X [c, d] of x [..., c d]: [..., a b]."""
    c, d = small.shape[1], large.shape[1]
    h = linear(x.reshape(*x.shape[:-1], c, d), large)
    return linear(h.mT, small).mT.flatten(-2)


def _kron_conv(base: nn.Conv2d, x: Tensor, small: Tensor, large: Tensor) -> Tensor:
    """The same over images [batch, c d, h, w]: W2 is a convolution of each of the c groups, W1 mixes the groups."""
    (a, c), (b, d) = small.shape, large.shape[:2]
    batch, _, *size = x.shape
    h = conv2d(x.reshape(batch * c, d, *size), large, None, base.stride, base.padding, base.dilation)
    mixed = torch.matmul(small, h.reshape(batch, c, -1))
    return mixed.view(batch, a * b, *h.shape[2:])
