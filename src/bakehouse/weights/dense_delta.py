"""Dense ΔW of a module, of any algorithm, and the factors of plain LoRA modules."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bakehouse.adapters.adapter_file import AdapterFile, read_layer
from bakehouse.adapters.layer import BIAS, AdapterLayer, Base

PLAIN = frozenset({"lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha", BIAS})
"""The tensors of LoRA and LoCon and a bias: modules of these can be merged and resized without the base."""


def is_plain(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether a module's tensors are only LoRA's or LoCon's."""
    return "lora_down.weight" in tensors and "lora_up.weight" in tensors and set(tensors) <= PLAIN


def bias_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a module's Δb under its name, if it has one; tools that change only the ΔW keep it."""
    return {BIAS: tensors[BIAS]} if BIAS in tensors else {}


def module_of(weight: Tensor, bias: Tensor | None = None) -> Base:
    """Return a module with this weight: a norm, a linear map or a convolution, by the number of its axes."""
    made: Base
    match weight.ndim:
        case 1:
            made = nn.LayerNorm(weight.shape[0], device="meta")
        case 2:
            made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
        case _:
            outs, ins, *kernel = weight.shape
            made = nn.Conv2d(ins, outs, (kernel[0], kernel[1]), bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias, requires_grad=False)
    return made


def layer_of(file: AdapterFile, stem: str, weight: Tensor, bias: Tensor | None = None) -> AdapterLayer:
    """Return one module's layer for a base's weight and bias in single precision.

    Raises:
        UsageError: the algorithm is unknown, or the shapes do not fit.
    """
    return read_layer(file, stem, module_of(weight, bias), where="the base")


@torch.no_grad()
def delta_of(
    file: AdapterFile, stem: str, weight: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return one module's ΔW at strength 1, float32, in the weight's shape, and its Δb by its name in files."""
    bias = None if bias is None else bias.float()
    layer = layer_of(file, stem, weight.float(), bias)
    bias_delta = layer.bias_delta(bias)
    return layer.delta(weight.float()).float(), {} if bias_delta is None else {BIAS: bias_delta.float()}


def scale_of(tensors: Mapping[str, Tensor]) -> float:
    """Return alpha / rank of a LoRA module; 1 without alpha."""
    rank = tensors["lora_down.weight"].shape[0]
    return float(tensors["alpha"]) / rank if "alpha" in tensors else 1.0


def matrices(tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return LoRA's B [out, r] and A [r, in x kernel] in single precision without alpha; a Tucker core is in A."""
    down, up = tensors["lora_down.weight"].float(), tensors["lora_up.weight"].float()
    if "lora_mid.weight" in tensors:
        down = torch.einsum("abkl,bi->aikl", tensors["lora_mid.weight"].float(), down.flatten(1))
    return up.flatten(1), down.flatten(1)


def kernel_of(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return the axes of A after the rank: `in` for a linear map, `in, k, k` for a convolution."""
    down = tensors["lora_down.weight"]
    if "lora_mid.weight" in tensors:
        return (down.shape[1], *tensors["lora_mid.weight"].shape[2:])
    return tuple(down.shape[1:])


def lora_tensors(B: Tensor, A: Tensor, kernel: tuple[int, ...], alpha: float) -> dict[str, Tensor]:
    """Return a module's tensors as kohya writes them; for a convolution A [r, in, k, k] and B [out, r, 1, 1]."""
    ones = [1] * (len(kernel) - 1)
    return {
        "lora_down.weight": A.reshape(A.shape[0], *kernel),
        "lora_up.weight": B.reshape(B.shape[0], B.shape[1], *ones),
        "alpha": torch.tensor(float(alpha)),
    }
