"""LoRA and LoCon: ΔW = (alpha / rank) B A. Hu et al. 2021, arXiv:2106.09685; for convolutions as in LyCORIS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, dropout, linear

from bakehouse.adapters.delta_autograd import low_rank
from bakehouse.adapters.dora import DecomposableLayer, DecomposableSpec, lengths, read_magnitudes
from bakehouse.adapters.layer import (
    Base,
    ForwardPath,
    Weight,
    WeightAndGradients,
    compute_input,
    drop_channels,
    full_precision,
    many_rows,
)
from bakehouse.adapters.network_settings import KERNELS, NEW, LayerDims
from bakehouse.adapters.target_modules import Site
from bakehouse.core.setting_needs import Needs, is_off


class LoRA(DecomposableSpec):
    """Low-rank adapters on linear maps and convolutions (LoCon)."""

    algo: ClassVar[str] = "locon"

    kind: Literal["lora"] = "lora"
    rs_lora: Annotated[bool, NEW] = False
    """Scale the update by alpha / sqrt(rank): Kalajdzievski 2023, arXiv:2312.03732."""
    lora_plus_ratio: Annotated[float, Needs(is_off("lora_fa"), otherwise="multiplies the whole learning rate")] = Field(
        1.0, gt=0, le=10_000
    )
    """Factor on the learning rate of matrices that start at zero; usually 16. LoRA+: Hayou 2024, arXiv:2402.12354."""
    lora_fa: bool = False
    """Freeze A at its random start and train only B, which saves the memory of A's inputs (LoRA-FA: Zhang et al. 2023,
    arXiv:2308.03303)."""
    tucker: Annotated[bool, *KERNELS] = False
    """3x3 convolutions through a core of rank x rank x 3 x 3, which keeps A small (LyCORIS' Tucker form)."""

    def network_metadata(self) -> dict[str, Any]:
        metadata = super().network_metadata()
        if self.dora or self.tucker or self.train_norm:
            return metadata
        # All programs know plain LoRA as kohya's own network.
        return {**metadata, "ss_network_module": "networks.lora", "ss_network_args": self._conv_args()}

    def network_args(self) -> dict[str, str]:
        return {**super().network_args(), "use_tucker": str(self.tucker), "rs_lora": str(self.rs_lora)}

    def layer(self, site: Site, dim: LayerDims, generator: torch.Generator | None) -> LoRALayer:
        outs, ins, *kernel = site.module.weight.shape
        tucker = self.tucker and site.is_kernel
        ones = [1] * len(kernel)
        # Programs compute alpha / rank; with this alpha that is alpha / sqrt(rank).
        alpha = dim.alpha * math.sqrt(dim.rank) if self.rs_lora else dim.alpha
        down = _uniform((dim.rank, ins, *(ones if tucker else kernel)), generator)
        mid = _uniform((dim.rank, dim.rank, *kernel), generator) if tucker else None
        up = torch.zeros(outs, dim.rank, *ones)
        made = LoRALayer(
            down, up, alpha, mid=mid, magnitudes=self.magnitudes(site.module), dropout=dim.dropout,
            rank_dropout=dim.rank_dropout, module_dropout=dim.module_dropout,
        )  # fmt: skip
        made.lora_down.requires_grad_(not self.lora_fa)
        return made

    @property
    def frozen(self) -> frozenset[str]:
        return frozenset({"lora_down.weight"}) if self.lora_fa else frozenset()


def _longer(length: Tensor, more: Tensor) -> Tensor:
    """sqrt(length² + more), never 0; exactly the length where there is no more, whatever the root rounds to."""
    tiny = torch.finfo(torch.float32).tiny
    whole = (length.square() + more).clamp_min(tiny).sqrt()
    return (length + more / (length + whole)).clamp_min(tiny)


def _uniform(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return nn.init.kaiming_uniform_(torch.empty(shape), a=math.sqrt(5), generator=generator)


class LoRALayer(DecomposableLayer):
    """One module's A (`lora_down`), B (`lora_up`), Tucker core (`lora_mid`, where there is one) and alpha."""

    algorithm = "LoRA"
    suffixes: ClassVar[frozenset[str]] = frozenset(
        {"lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha", "dora_scale"}
    )
    has_cheap_norms = True
    zero_initialized = frozenset({"lora_up.weight"})

    def __init__(
        self,
        down: Tensor,
        up: Tensor,
        alpha: float,
        *,
        mid: Tensor | None = None,
        magnitudes: Tensor | None = None,
        dropout: float = 0.0,
        rank_dropout: float = 0.0,
        module_dropout: float = 0.0,
    ) -> None:
        super().__init__(magnitudes)
        self.lora_down = Weight(down)
        self.lora_up = Weight(up)
        self.lora_mid = None if mid is None else Weight(mid)
        self.set_alpha(alpha)
        self.dropout = dropout
        self.rank_dropout = rank_dropout
        self.module_dropout = module_dropout

    def alpha_over_rank(self) -> float:
        return float(self.alpha) / self.rank

    @classmethod
    def recognizes(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "lora_down.weight" in tensors or "lora_up.weight" in tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        down, up = (tensors.get(f"lora_{side}.weight") for side in ("down", "up"))
        if down is None or up is None:
            raise ValueError(f"it holds {', '.join(tensors)} where lora_down.weight and lora_up.weight are expected")
        rank = int(down.shape[0])
        alpha = float(tensors["alpha"]) if "alpha" in tensors else float(rank)
        outs, ins, *kernel = base.weight.shape
        ones = [1] * len(kernel)
        mid = tensors.get("lora_mid.weight")
        want_down, want_up = (rank, ins, *(kernel if mid is None else ones)), (outs, rank, *ones)
        if down.numel() != math.prod(want_down) or up.numel() != math.prod(want_up):
            raise ValueError(
                f"A {tuple(down.shape)} and B {tuple(up.shape)} do not fit a weight of {tuple(base.weight.shape)}"
            )
        if mid is not None and tuple(mid.shape) != (rank, rank, *kernel):
            raise ValueError(f"the core {tuple(mid.shape)} does not fit a weight of {tuple(base.weight.shape)}")
        # A 1x1 convolution and a linear map hold the same numbers; files differ in which they say.
        return cls(
            down.float().reshape(want_down).clone(),
            up.float().reshape(want_up).clone(),
            alpha,
            mid=None if mid is None else mid.float().clone(),
            magnitudes=read_magnitudes(tensors, base),
        )

    @property
    def down(self) -> Tensor:
        return self.lora_down.weight

    @property
    def up(self) -> Tensor:
        return self.lora_up.weight

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    def _rows(self) -> Tensor:
        """A with the core multiplied into it, [r, in x k x k]."""
        if self.lora_mid is None:
            return self.down.flatten(1)
        return torch.einsum("abkl,bi->aikl", self.lora_mid.weight, self.down.flatten(1)).flatten(1)

    def update(self, shape: torch.Size) -> Tensor:
        return (self.up.flatten(1) @ self._rows() * self.scale).view(shape)

    def factors(self) -> list[nn.Parameter]:
        return [p for p in (self.lora_down.weight, self.lora_up.weight) if p.requires_grad]

    def update_norm(self) -> Tensor:
        """||sBA||² = s² <B'B, A A'>: no ΔW is made."""
        rows, up = self._rows(), self.up.flatten(1)
        return ((up.mT @ up) * (rows @ rows.mT)).sum().clamp_min(0).sqrt() * self.scale

    def row_norms(self, weight: Tensor) -> Tensor:
        """||W + sBA||² = ||W||² + 2s <B, W A'> + s² <B, B A A'>, row by row."""
        rows, up = self._rows(), self.up.flatten(1) * self.scale
        # As dora_scale was measured, so that at the start both are equal to the last bit.
        alone = lengths(weight, on_output=True).flatten()
        mixed = up * (2 * weight.flatten(1) @ rows.mT + up @ (rows @ rows.mT))
        return _longer(alone, mixed.sum(1))

    def column_norms(self, weight: Tensor) -> Tensor:
        """||W + sBA||² = ||W||² + 2s <B'W, A> + s² <B'B A, A>, column by column."""
        rows, up = self._rows(), self.up.flatten(1) * self.scale
        alone = lengths(weight, on_output=False).flatten()
        mixed = (rows * (2 * up.mT @ weight.flatten(1) + (up.mT @ up) @ rows)).sum(0)
        return _longer(alone, mixed.view(len(alone), -1).sum(1))

    def path_without_dora(self, base: Base, x: Tensor) -> ForwardPath:
        # In single precision ΔW can stand in the weight, where it costs next to nothing once there are some rows.
        # With A frozen it would cost the memory of x, which that is there to save.
        changed = self.training and (self.dropout or self.rank_dropout or not self.down.requires_grad)
        fits = isinstance(base, nn.Linear) and full_precision(base, x) and many_rows(base, x)
        return "weight" if fits and not changed else "input"

    def weight_and_gradients(self, base: Base, multiplier: float) -> WeightAndGradients | None:
        if self.dora_scale is not None:
            return None
        up, down = self.up * (self.scale * multiplier), self.down
        made = (up.detach(), down.detach())
        return lambda: torch.addmm(base.weight, *made), lambda x, out: low_rank(out, x, up, down)

    def update_from_input(self, base: Base, x: Tensor) -> Tensor:
        return self._through(base, x, self.down, self.up)

    def _through(self, base: Base, x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """op(x, scale x up down), with dropouts."""
        x = compute_input(x, down)
        # Scaling the bottleneck is cheaper than scaling the output: it is rank wide.
        if isinstance(base, nn.Linear):
            return linear(self._dropped(linear(x, down) * self.scale, -1), up)
        assert isinstance(base, nn.Conv2d)
        if self.lora_mid is None:
            h = conv2d(x, down, None, base.stride, base.padding, base.dilation)
        else:
            h = conv2d(conv2d(x, down), self.lora_mid.weight, None, base.stride, base.padding, base.dilation)
        return conv2d(self._dropped(h * self.scale, 1), up)

    def _dropped(self, h: Tensor, rank_dim: int) -> Tensor:
        if not self.training:
            return h
        if self.dropout:
            h = dropout(h, self.dropout)
        return drop_channels(h, rank_dim, self.rank_dropout) if self.rank_dropout else h
