"""An adapter's change of one weight, whatever the algorithm: `delta` of its layer, put on the weight itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bakehouse.adapters.adapter_files import AdapterFile, read_layer
from bakehouse.adapters.layer import BIAS, AdapterLayer, Base

PLAIN = frozenset({"lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha", BIAS})
"""The tensors of LoRA and LoCon, a bias beside them too: what can be joined and resized without the base."""


def is_plain(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a module's tensors are LoRA's or LoCon's and nothing else."""
    return "lora_down.weight" in tensors and "lora_up.weight" in tensors and set(tensors) <= PLAIN


def bias_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The Δb of a module, under its name, where it has one: what changes the ΔW alone takes it along."""
    return {BIAS: tensors[BIAS]} if BIAS in tensors else {}


def module_of(weight: Tensor, bias: Tensor | None = None) -> Base:
    """A module around a weight: a norm, a linear map or a convolution, by the number of its axes."""
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
    """One module's layer, for a base's weight and bias in single precision.

    Raises:
        UsageError: an algorithm that is not known here, or the shapes do not fit.
    """
    return read_layer(file, stem, module_of(weight, bias), where="the base")


@torch.no_grad()
def delta_of(
    file: AdapterFile, stem: str, weight: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """ΔW of one module at multiplier 1, float32, in the shape of the base's weight; and its Δb by its name in files."""
    bias = None if bias is None else bias.float()
    layer = layer_of(file, stem, weight.float(), bias)
    bias_delta = layer.bias_delta(bias)
    return layer.delta(weight.float()).float(), {} if bias_delta is None else {BIAS: bias_delta.float()}


def scale_of(tensors: Mapping[str, Tensor]) -> float:
    """Alpha / rank of a LoRA module; a file without alpha means 1."""
    rank = tensors["lora_down.weight"].shape[0]
    return float(tensors["alpha"]) / rank if "alpha" in tensors else 1.0


def matrices(tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """LoRA's B [out, r] and A [r, in x kernel] in single precision, without alpha; Tucker's core is in A."""
    down, up = tensors["lora_down.weight"].float(), tensors["lora_up.weight"].float()
    if "lora_mid.weight" in tensors:
        down = torch.einsum("abkl,bi->aikl", tensors["lora_mid.weight"].float(), down.flatten(1))
    return up.flatten(1), down.flatten(1)


def kernel_of(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The axes of A behind rank and outputs: `in` for a linear map, `in, k, k` for a convolution."""
    down = tensors["lora_down.weight"]
    if "lora_mid.weight" in tensors:
        return (down.shape[1], *tensors["lora_mid.weight"].shape[2:])
    return tuple(down.shape[1:])


def lora_tensors(B: Tensor, A: Tensor, kernel: tuple[int, ...], alpha: float) -> dict[str, Tensor]:
    """A module's tensors as kohya writes them: A [r, in, k, k], B [out, r, 1, 1] for a convolution."""
    ones = [1] * (len(kernel) - 1)
    return {
        "lora_down.weight": A.reshape(A.shape[0], *kernel),
        "lora_up.weight": B.reshape(B.shape[0], B.shape[1], *ones),
        "alpha": torch.tensor(float(alpha)),
    }
