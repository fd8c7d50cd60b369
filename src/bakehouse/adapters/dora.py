"""DoRA: the weight's magnitude and direction are trained separately. Liu et al. 2024, arXiv:2402.09353.

W' = m V / ||V|| with V = W + ΔV, where ΔV is the underlying algorithm's update and ||V|| the norm of each row (one for
each output) or of each column. ΔW = W' - W, so that strength 0 is the base, as everywhere.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from bakehouse.adapters.layer import (
    Base,
    ForwardPath,
    ScaledLayer,
    full_precision,
    linear_map,
    own_weight,
    per_channel,
)
from bakehouse.adapters.network_settings import NetworkSpec
from bakehouse.core.setting_needs import Needs, is_on


class DecomposableSpec(NetworkSpec):
    """A network algorithm that can be combined with DoRA."""

    is_product = True

    dora: bool = False
    """Train the magnitude of the weight separately from its direction (DoRA)."""
    wd_on_output: Annotated[bool, Needs(is_on("dora"), refused=True)] = False
    """DoRA's magnitudes: one for each output, as in the paper and LyCORIS from 3.2 on; false: one for each input, which
    ComfyUI and A1111 apply as trained."""

    def network_args(self) -> dict[str, str]:
        args = super().network_args()
        return {**args, "dora_wd": "True", "wd_on_output": str(self.wd_on_output)} if self.dora else args

    def magnitudes(self, base: Base) -> Tensor | None:
        """Return the initial magnitudes; None without DoRA."""
        return lengths(base.weight.detach().float(), self.wd_on_output) if self.dora else None


def lengths(weight: Tensor, on_output: bool) -> Tensor:
    """Return ||V|| of each output [out, 1, ...] or of each input [1, in, 1, ...]; never 0."""
    # Flattened, so that a weight is summed in one order however it lies in memory: at the start m / ||V|| is 1 exactly.
    rows = (weight if on_output else weight.transpose(0, 1)).flatten(1)
    norm: Tensor = torch.linalg.vector_norm(rows, dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    kernel = [1] * (weight.ndim - 2)
    return norm.view(-1, 1, *kernel) if on_output else norm.view(1, -1, *kernel)


class DecomposableLayer(ScaledLayer):
    """A layer that computes ΔV in `update`; with a `dora_scale` m, ΔW is m V / ||V|| - W, without one ΔV."""

    has_cheap_norms: ClassVar[bool] = False
    """Whether `row_norms` and `column_norms` compute ||V|| without making ΔV."""
    dora_scale: nn.Parameter | None

    def __init__(self, magnitudes: Tensor | None) -> None:
        super().__init__()
        self.register_parameter("dora_scale", None if magnitudes is None else nn.Parameter(magnitudes.clone()))
        self.on_output = magnitudes is not None and magnitudes.shape[0] == magnitudes.numel()

    def match_shapes(self, state: Mapping[str, Tensor]) -> None:
        """Take over the axis of the loaded magnitudes, so that runs of earlier versions can be resumed."""
        found, own = state.get("dora_scale"), self.dora_scale
        if found is None or own is None or found.ndim != own.ndim or found.numel() == 1:
            return
        on_output = found.shape[0] == found.numel()
        if on_output != self.on_output:
            own.data = torch.empty(found.shape, dtype=own.dtype, device=own.device)
            self.on_output = on_output

    @abstractmethod
    def update(self, shape: torch.Size) -> Tensor:
        """ΔV, alpha and rank included, without dropouts."""

    @abstractmethod
    def update_from_input(self, base: Base, x: Tensor) -> Tensor:
        """Return op(x, ΔV) in the cheapest way, with dropouts."""

    def path_without_dora(self, base: Base, x: Tensor) -> ForwardPath:
        """Return the forward path without DoRA."""
        return "input"

    def row_norms(self, weight: Tensor) -> Tensor:
        """Return ||W + ΔV|| of each output [out]; exactly ||W|| if ΔV is 0."""
        raise NotImplementedError(f"{type(self).__name__} has no cheap norms")

    def column_norms(self, weight: Tensor) -> Tensor:
        """Return ||W + ΔV|| of each input [in]; exactly ||W|| if ΔV is 0."""
        raise NotImplementedError(f"{type(self).__name__} has no cheap norms")

    def delta(self, weight: Tensor) -> Tensor:
        update = self.update(weight.shape)
        if self.dora_scale is None:
            return update
        whole = weight.float() + update
        return whole * (self.dora_scale / lengths(whole, self.on_output)) - weight

    def forward_path(self, base: Base, x: Tensor) -> ForwardPath:
        if self.dora_scale is None:
            return self.path_without_dora(base, x)
        if self.has_cheap_norms:
            return "output" if self.on_output else "input"
        return "weight" if full_precision(base, x) else "input"

    def delta_from_input(self, base: Base, x: Tensor) -> Tensor:
        """op(x, V s - W) = op((s - 1) x, W) + op(s x, ΔV), s = m / ||V|| of each input."""
        if self.dora_scale is None:
            return self.update_from_input(base, x)
        if not self.has_cheap_norms or self.on_output:
            return super().delta_from_input(base, x)
        weight = own_weight(base)
        s = self.dora_scale.flatten() / self.column_norms(weight.float())
        s = s.view(-1, 1, 1) if isinstance(base, nn.Conv2d) else s
        return linear_map(base, x * (s - 1).to(x.dtype), weight) + self.update_from_input(base, x * s.to(x.dtype))

    def delta_from_output(self, base: Base, x: Tensor, y: Tensor) -> Tensor:
        """op(x, s V - W) = (s - 1) y + s op(x, ΔV), s = m / ||V||."""
        assert self.dora_scale is not None
        s = self.dora_scale.flatten() / self.row_norms(own_weight(base).float())
        s = per_channel(base, s).to(y.dtype)
        return (s - 1) * y + s * self.update_from_input(base, x)


def read_magnitudes(tensors: Mapping[str, Tensor], base: Base) -> Tensor | None:
    """Return a file's `dora_scale` in the module's shape; its shape determines the axis.

    Raises:
        ValueError: it fits neither the outputs nor the inputs.
    """
    found = tensors.get("dora_scale")
    if found is None:
        return None
    outs, ins, *kernel = base.weight.shape
    ones = [1] * len(kernel)
    if found.numel() == outs and found.shape[0] == outs:
        return found.float().reshape(outs, 1, *ones)
    if found.numel() == ins:
        return found.float().reshape(1, ins, *ones)
    raise ValueError(f"dora_scale {tuple(found.shape)} does not fit a weight of {tuple(base.weight.shape)}")
