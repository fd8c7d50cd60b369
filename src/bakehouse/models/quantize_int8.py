"""8-bit quantization of a frozen base: int8 weights with one scale per output, multiplied as floats.

    W[o] ~ scale[o] x q[o],   scale[o] = max |W[o]| / 127,   q = round(W / scale)

The error of each weight is at most half a scale. Activations stay floats, so nothing is calibrated. The backward pass
saves the int8 weight alone: the float weight exists during one product and is computed again in the backward pass, so
a base takes half the memory of fp16. As in QLoRA (Dettmers et al. 2023, arXiv:2305.14314), adapters are trained in
floats beside the frozen weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear
from torch.nn.grad import conv2d_input

from bakehouse.models.denoiser import Denoiser

MIN_SIZE = 4096
"""Weights with fewer elements stay floats: quantizing them saves nothing."""

NOT_QUANTIZED = ("conv_in", "conv_out", "time_embedding", "time_emb_proj", "add_embedding")
"""Modules whose weights stay floats: every pixel and block depends on them, and they are 1% of the parameters."""


def quantize_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a weight [out, ...] as int8 of the same shape, and fp32 scales [out, 1, ...]."""
    value = weight.detach().float()
    scale = value.flatten(1).abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
    scale = scale.view(-1, *[1] * (value.ndim - 1))
    return (value / scale).round().clamp(-127, 127).to(torch.int8), scale


def dequantize(q: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weight as floats: the product is rounded once, from fp32."""
    return (q * scale).to(dtype)


class _Quantized(nn.Module):
    """Common base of quantized linear layers and convolutions; `weight` is computed at each access.

    A quantized module still is an `nn.Linear` or `nn.Conv2d` with a weight of the same shape, type and device, so that
    adapters work on it as on any other. The weight is a copy: writing to it changes nothing.
    """

    q: Tensor
    scale: Tensor
    like: Tensor
    """Empty; its type is the weight's and follows `.to(dtype)`. The scale stays fp32: it may underflow in fp16."""

    def _floats(self) -> Tensor:
        return dequantize(self.q, self.scale, self.like.dtype)

    weight: Any = property(_floats, doc="The frozen weight [out, ...] as floats, computed at each access.")

    @classmethod
    def of(cls, module: nn.Linear | nn.Conv2d) -> Self:
        """Return a quantized copy of `module` that shares its bias and settings. Adapters are applied afterwards."""
        if "forward" in vars(module):
            raise ValueError("this module already has an adapter: quantize the base first")
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
                made.__dict__[name] = value
        q, scale = quantize_int8(module.weight)
        made.register_parameter("bias", module._parameters["bias"])
        made.register_buffer("q", q)
        made.register_buffer("scale", scale)
        made.register_buffer("like", torch.empty(0, dtype=module.weight.dtype, device=module.weight.device))
        return made

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        scale = self.scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.scale = scale.to(self.scale.device)
        return self

    def _dtype(self, x: Tensor) -> torch.dtype:
        """Return the type of the product: autocast's if it is on."""
        kind = x.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.like.dtype


class QuantizedLinear(_Quantized, nn.Linear):
    """x W^T + b with W in int8."""

    def forward(self, x: Tensor) -> Tensor:
        dtype = self._dtype(x)
        bias = None if self.bias is None else self.bias.to(dtype)
        out: Tensor = _Linear.apply(x.to(dtype), self.q, self.scale, bias)  # type: ignore[no-untyped-call]
        return out


class QuantizedConv2d(_Quantized, nn.Conv2d):
    """A convolution with its kernel in int8."""

    def forward(self, x: Tensor) -> Tensor:
        dtype = self._dtype(x)
        bias = None if self.bias is None else self.bias.to(dtype)
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        out: Tensor = _Conv2d.apply(x.to(dtype), self.q, self.scale, bias, geometry)  # type: ignore[no-untyped-call]
        return out


class _Linear(torch.autograd.Function):
    """The product; saves the int8 weight for the backward pass, and not x, since the weight is frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, q: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(q, scale)
        return linear(x, dequantize(q, scale, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, scale = ctx.saved_tensors
        of_x = grad @ dequantize(q, scale, grad.dtype) if ctx.needs_input_grad[0] else None
        of_bias = grad.flatten(0, -2).sum(0) if ctx.needs_input_grad[3] else None
        return of_x, None, None, of_bias


class _Conv2d(torch.autograd.Function):
    """The same for a convolution; `geometry` is stride, padding, dilation, groups."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, q: Tensor, scale: Tensor, bias: Tensor | None, geometry: tuple[Any, Any, Any, int]
    ) -> Tensor:
        ctx.save_for_backward(q, scale)
        ctx.geometry, ctx.shape = geometry, x.shape
        return conv2d(x, dequantize(q, scale, x.dtype), bias, *geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, scale = ctx.saved_tensors
        of_x = None
        if ctx.needs_input_grad[0]:
            weight = dequantize(q, scale, grad.dtype)
            of_x = conv2d_input(ctx.shape, weight, grad, *ctx.geometry)  # type: ignore[no-untyped-call]
        of_bias = grad.sum((0, 2, 3)) if ctx.needs_input_grad[3] else None
        return of_x, None, None, of_bias, None


def quantize_modules(networks: Iterable[nn.Module]) -> int:
    """Quantize every large linear layer and plain convolution of the networks in place; return how many.

    One weight is converted at a time. Modules that are quantized already are left alone.
    """
    count = 0
    for network in networks:
        for path, module in list(network.named_modules()):
            made = _quantized(path, module)
            if made is not None:
                parent, _, name = path.rpartition(".")
                setattr(network.get_submodule(parent), name, made)
                count += 1
    return count


def quantize_base(model: Denoiser, *, text: bool) -> int:
    """Quantize a model's UNet, and its text encoders if they stay in memory (`text`); return how many modules."""
    networks = [network for name, network in model.trainable_modules().items() if text or name == "lora_unet"]
    _ = model.fingerprint  # hashed and cached now, from the weights as they were read
    return quantize_modules(networks)


def _quantized(path: str, module: nn.Module) -> nn.Module | None:
    """Return the quantized module; None if it stays as it is."""
    if not path or isinstance(module, _Quantized) or not set(path.split(".")).isdisjoint(NOT_QUANTIZED):
        return None
    if type(module) is nn.Linear and module.weight.numel() >= MIN_SIZE:
        return QuantizedLinear.of(module)
    if type(module) is nn.Conv2d and module.weight.numel() >= MIN_SIZE and _plain(module):
        return QuantizedConv2d.of(module)
    return None


def _plain(conv: nn.Conv2d) -> bool:
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def is_quantized(module: nn.Module) -> bool:
    """Return whether any weight of a network is quantized."""
    return any(isinstance(m, _Quantized) for m in module.modules())


def weight_bytes(module: nn.Module) -> int:
    """Return the bytes of a network's parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors)
