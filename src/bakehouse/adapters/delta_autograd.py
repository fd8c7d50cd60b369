"""Autograd functions for products with W + ΔW: gradients of ΔW's parameters without the gradient of ΔW.

Autograd differentiates x (W + ΔW)ᵀ with a third product as large as the base's, for a gradient [out, in] of which an
adapter needs only a few sums. Here the output passes through unchanged, and the backward pass computes these sums from
the input and the structure of ΔW: thin products, or sums over blocks.

`product` computes the output with a gradient for x only; each of the other functions takes it and returns it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, linear
from torch.nn.grad import conv2d_input

_CACHED = 1 << 16
"""Number of values that fit into a core's cache twice."""


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, base: nn.Linear | nn.Conv2d, make: Callable[[], Tensor]) -> Tensor:
        ctx.base, ctx.make, ctx.shape = base, make, x.shape
        if isinstance(base, nn.Linear):
            return linear(x, make(), base.bias)
        return conv2d(x, make(), base.bias, base.stride, base.padding, base.dilation, base.groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        base, weight = ctx.base, ctx.make()
        if isinstance(base, nn.Linear):
            return grad @ weight, None, None
        how = (base.stride, base.padding, base.dilation, base.groups)
        return conv2d_input(ctx.shape, weight, grad, *how), None, None  # type: ignore[no-untyped-call]


def product(base: nn.Linear | nn.Conv2d, x: Tensor, make: Callable[[], Tensor]) -> Tensor:
    """Return `base`(x) with the weight that `make` returns; it is made again in the backward pass.

    Autograd would keep W + ΔW of every layer until then: a second copy of the base.
    """
    result: Tensor = _Product.apply(x, base, make)  # type: ignore[no-untyped-call]
    return result


class _LowRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out: Tensor, x: Tensor, up: Tensor, down: Tensor) -> Tensor:
        ctx.save_for_backward(x, up, down)
        return out.view_as(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, up, down = ctx.saved_tensors
        wants_up, wants_down = ctx.needs_input_grad[2:]
        rows, g = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
        to_up = g.T @ (rows @ down.T) if wants_up else None
        to_down = (g @ up).T @ rows if wants_down else None
        return grad, None, to_up, to_down


def low_rank(out: Tensor, x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Return `out` with gradients for ΔW = up down: out [..., outs], x [..., ins], up [outs, r], down [r, ins]."""
    result: Tensor = _LowRank.apply(out, x, up, down)  # type: ignore[no-untyped-call]
    return result


class _Kronecker(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out: Tensor, x: Tensor, small: Tensor, up: Tensor, down: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, small, up, down)
        return out.view_as(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, small, up, down = ctx.saved_tensors
        (a, c), (b, r) = small.shape, up.shape
        X, G = x.reshape(-1, x.shape[-1] // c), grad.reshape(-1, b)
        H = X if down is None else X @ down.T
        # [n c, r] and [n a, r] with the groups first, so that W1 is applied in one product.
        H, GU = _groups_first(H, c), _groups_first(G @ up, a)
        to_small = GU @ H.T
        to_up = G.T @ _groups_last(small @ H, r)
        to_down = None if down is None else _groups_last(small.T @ GU, r).T @ X
        return grad, None, to_small, to_up, to_down


def _groups_first(rows: Tensor, groups: int) -> Tensor:
    """Reshape [n groups, r] to [groups, n r]."""
    return rows.view(-1, groups, rows.shape[1]).transpose(0, 1).reshape(groups, -1)


def _groups_last(rows: Tensor, r: int) -> Tensor:
    """Reshape [groups, n r] to [n groups, r]."""
    return rows.view(rows.shape[0], -1, r).transpose(0, 1).reshape(-1, r)


def kronecker(out: Tensor, x: Tensor, small: Tensor, up: Tensor, down: Tensor | None) -> Tensor:
    """ΔW = small (x) up down: out [..., a b], x [..., c d], small [a, c], up [b, r], down [r, d] (None: up [b, d])."""
    result: Tensor = _Kronecker.apply(out, x, small, up, down)  # type: ignore[no-untyped-call]
    return result


class _Rotated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out: Tensor, turn: Tensor, bias: Tensor | None, channels: int) -> Tensor:
        ctx.save_for_backward(out, turn, bias)
        ctx.channels = channels
        return out.view_as(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        out, turn, bias = ctx.saved_tensors
        count, size, _ = turn.shape
        if ctx.channels == 1:
            y = out if bias is None else out - bias[:, None, None]
            g, y = (t.reshape(t.shape[0], count, size, -1) for t in (grad, y))
            product = (g @ y.mT).sum(0)
        else:
            g, y = (t.reshape(-1, count * size) for t in (grad, out))
            product = _outer_by_block(g, y, bias, count)
        # The gradient is the sum of g zᵀ, z = Rᵀ y the input of the rotation, whose inverse is its transpose.
        return grad, product @ turn, None, None


def _outer_by_block(g: Tensor, out: Tensor, bias: Tensor | None, count: int) -> Tensor:
    """Return the sum over rows [n, outs] of g yᵀ, y = out - bias, for each block [count, size, size].

    A block reads a few values of each row. On a CPU rows are processed in chunks that fit into a core's cache, so that
    they are not read from memory again for every block.
    """
    size = g.shape[1] // count
    rows = len(g)
    if g.device.type == "cpu" and g.numel() > 8 * _CACHED:
        rows = max(1, _CACHED // g.shape[1])
    product = g.new_zeros(count, size, size)
    for start in range(0, len(g), rows):
        left, y = g[start : start + rows], out[start : start + rows]
        y = y if bias is None else y - bias
        product.baddbmm_(left.view(-1, count, size).permute(1, 2, 0), y.view(-1, count, size).transpose(0, 1))
    return product


def rotated(out: Tensor, turn: Tensor, bias: Tensor | None, *, channels: int = -1) -> Tensor:
    """W + ΔW = R W, R block-diagonal and orthogonal: out [..., outs] or images, turn [count, n, n].

    Args:
        bias: the bias that was added to the product.
        channels: the axis of the outputs: -1, or 1 for images.
    """
    result: Tensor = _Rotated.apply(out, turn, bias, channels)  # type: ignore[no-untyped-call]
    return result
