"""(IA)^3: one learned factor for each channel, ΔW = l * W. Liu et al. 2022, arXiv:2205.05638; files as LyCORIS'."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from bakehouse.adapters.layer import AdapterLayer, Base, ForwardPath, full_precision, linear_map, own_weight
from bakehouse.adapters.network_settings import NEW, LayerDims, NetworkSpec
from bakehouse.adapters.target_modules import Site

SECOND_LAYERS = ("*ff.net.2", "*mlp.fc2")
"""Feed-forward layers whose inputs are scaled: the paper's factors stand on the activations between the two layers."""


class IA3(NetworkSpec):
    """One factor for each channel of keys, values and feed-forward layers: tiny; learning rate 5e-3 to 1e-2."""

    algo: ClassVar[str] = "ia3"
    unused_settings: ClassVar[frozenset[str]] = frozenset(
        {"rank", "alpha", "conv_rank", "conv_alpha", "dims", "dropout", "rank_dropout", "train_norm"}
    )

    kind: Literal["ia3"] = "ia3"
    include: Annotated[tuple[str, ...], NEW] = ("*to_k", "*to_v", "*ff.net.2", "*k_proj", "*v_proj", "*mlp.fc2")
    """Only modules whose dotted name matches one of these patterns; inputs are scaled of `ff.net.2` and `mlp.fc2`."""

    def layer(self, site: Site, dim: LayerDims, generator: torch.Generator | None) -> IA3Layer:
        on_input = any(fnmatchcase(site.path, pattern) for pattern in SECOND_LAYERS)
        return IA3Layer(
            torch.zeros(_shape(site.module, on_input)), on_input=on_input, module_dropout=dim.module_dropout
        )

    def network_metadata(self) -> dict[str, Any]:
        return {**super().network_metadata(), "ss_network_dim": None, "ss_network_alpha": None}

    def network_args(self) -> dict[str, str]:
        return {"preset": "ia3"}

    def _conv_args(self) -> dict[str, str]:
        return {}


def _shape(base: Base, on_input: bool) -> tuple[int, ...]:
    """Factors as files have them: [channels] of a linear map, [1, channels, 1, 1] of a convolution."""
    channels = base.weight.shape[1 if on_input else 0]
    return (1, channels, 1, 1) if isinstance(base, nn.Conv2d) else (channels,)


class IA3Layer(AdapterLayer):
    """One module's factors, counted from 1: `weight` 0.1 scales by 1.1. PEFT's scale the bias, too: `bias_factors`."""

    algorithm = "IA3"
    suffixes: ClassVar[frozenset[str]] = frozenset({"weight", "on_input", "bias_factors"})
    on_input: Tensor

    def __init__(
        self, factors: Tensor, *, on_input: bool, bias_factors: Tensor | None = None, module_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(factors)
        self.bias_factors = None if bias_factors is None else nn.Parameter(bias_factors)
        self.register_buffer("on_input", torch.tensor(int(on_input)))
        self.scales_input = on_input
        self.module_dropout = module_dropout

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.scales_input = bool(self.on_input)

    @classmethod
    def recognizes(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "weight" in tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        """From a file's tensors; where the file does not say, the factors are for the outputs.

        Raises:
            ValueError: there are not as many factors as channels.
        """
        on_input = bool(tensors["on_input"]) if "on_input" in tensors else False
        factors, shape = tensors["weight"].float(), _shape(base, on_input)
        if factors.numel() != base.weight.shape[1 if on_input else 0]:
            side = "input" if on_input else "output"
            raise ValueError(
                f"{factors.numel()} factors do not fit the {side}s of a weight of {tuple(base.weight.shape)}"
            )
        of_bias = tensors.get("bias_factors")
        if base.bias is None or of_bias is None:
            return cls(factors.reshape(shape).clone(), on_input=on_input)
        return cls(factors.reshape(shape).clone(), on_input=on_input, bias_factors=of_bias.float().flatten().clone())

    def delta(self, weight: Tensor) -> Tensor:
        shape = [1] * weight.ndim
        shape[1 if self.scales_input else 0] = -1
        return weight * self.weight.view(shape)

    def bias_delta(self, bias: Tensor | None) -> Tensor | None:
        beside = super().bias_delta(bias)
        if self.bias_factors is None or bias is None:
            return beside
        scaled = bias * self.bias_factors
        return scaled if beside is None else scaled + beside

    def forward_path(self, base: Base, x: Tensor) -> ForwardPath:
        if not self.scales_input:
            return "output"
        return "weight" if full_precision(base, x) else "input"

    def delta_from_input(self, base: Base, x: Tensor) -> Tensor:
        """op(l * x, W) for factors on the inputs, l * op(x, W) for those on the outputs."""
        weight = own_weight(base)
        if self.scales_input:
            return linear_map(base, (x * self.weight).to(x.dtype), weight)
        return self.delta_from_output(base, x, linear_map(base, x, weight))

    def delta_from_output(self, base: Base, x: Tensor, y: Tensor) -> Tensor:
        return y * self.weight
