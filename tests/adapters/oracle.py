"""LyCORIS as the oracle: one module of theirs and one layer of ours on the same base."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bakehouse.adapters.layer import AdapterLayer, linear_map, own_weight

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lycoris.modules

logging.getLogger("LyCORIS").setLevel(logging.ERROR)

BASES: dict[str, Callable[[], nn.Linear | nn.Conv2d]] = {
    "linear": lambda: nn.Linear(10, 24),
    "no bias": lambda: nn.Linear(7, 12, bias=False),
    "1x1": lambda: nn.Conv2d(9, 24, 1),
    "3x3": lambda: nn.Conv2d(5, 12, 3, stride=2, padding=1),
}
"""Odd inputs, with a bias and without, kernels and strides."""


def randomise(module: nn.Module, std: float = 0.3) -> None:
    """Noise in every parameter: at the start ΔW is zero, and any mistake passes."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape) * std)


def inputs_of(base: nn.Module) -> Tensor:
    return (
        torch.randn(2, 6, base.in_features) if isinstance(base, nn.Linear) else torch.randn(2, base.in_channels, 7, 6)
    )


def check_same_delta(ours: AdapterLayer, theirs: Any, base: nn.Module) -> None:
    """Both add the same to the weight."""
    with torch.no_grad():
        want = theirs.get_diff_weight(1.0)[0].view(base.weight.shape)
        assert want.abs().max() > 0.05
        torch.testing.assert_close(ours.delta(base.weight), want, atol=1e-5, rtol=1e-5)


def check_ways(ours: AdapterLayer, base: nn.Module) -> None:
    """Every way to the output is the law's: op(x, ΔW)."""
    x = inputs_of(base)
    plain = linear_map(base, x, ours.delta(base.weight))
    torch.testing.assert_close(ours.delta_from_input(base, x), plain, atol=1e-5, rtol=1e-4)
    if ours.forward_path(base, x.bfloat16()) == "output":
        y = linear_map(base, x, own_weight(base))
        torch.testing.assert_close(ours.delta_from_output(base, x, y), plain, atol=1e-5, rtol=1e-4)


def theirs_from(state: Mapping[str, Tensor], base: nn.Module) -> Any:
    """What LyCORIS makes of a file's tensors."""
    kind, tensors = lycoris.modules.get_module({f"x.{name}": tensor for name, tensor in state.items()}, "x")
    return lycoris.modules.make_module(kind, tensors, "x", base)
