"""Mixed precision: autocast, the loss scale of fp16, gradient clipping and the optimizer step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from bakehouse.core.errors import UsageError
from bakehouse.dtypes import DTYPES
from bakehouse.training.fused_backward import FusedBackward
from bakehouse.training.sharding import OwnParts, clip_gradients


class Precision:
    """Autocast, loss scaling (fp16 alone), clipping and the optimizer step."""

    def __init__(self, name: str, device: torch.device) -> None:
        """`name` is fp32, fp16 or bf16.

        Raises:
            UsageError: fp16 on a CPU.
        """
        if name == "fp16" and device.type == "cpu":
            raise UsageError("train.precision = 'fp16' needs a GPU", hint="on a CPU use fp32")
        self.dtype = DTYPES[name]
        self.device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")
        self._fused: FusedBackward | None = None
        self._parts: OwnParts | None = None

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of forward passes."""
        if self.dtype is torch.float32:
            return nullcontext()
        # Copies of divided weights in half precision would be kept whole until the end of the forward pass.
        return torch.autocast(self.device.type, self.dtype, cache_enabled=self._parts is None)

    def enable_fused_backward(self, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> None:
        """Run optimizer steps during backward passes from now on.

        Raises:
            UsageError: with fp16, whose loss scale is checked against all gradients before any is used.
        """
        if self._scaler.is_enabled():
            raise UsageError(
                "train.fused_backward = true cannot be combined with fp16: its loss scale needs all gradients at once",
                hint="set train.precision = 'bf16' or 'fp32', or leave train.fused_backward out",
            )
        self._fused = FusedBackward(optimizer, parameters)

    def use_parts(self, parts: OwnParts) -> None:
        """Step on this rank's parts of the weights from now on.

        Raises:
            UsageError: with fp16, whose loss scale is checked against whole gradients.
        """
        if self._scaler.is_enabled():
            raise UsageError(
                "train.shard = true cannot be combined with fp16, whose loss scale has to see all gradients",
                hint="set train.precision = 'bf16' or 'fp32', or train.shard = false",
            )
        self._parts = parts

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, scaled with fp16."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def state_dict(self) -> dict[str, Any]:
        """Return the loss scale and its step counter, plain numbers; empty without a loss scale."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a saved loss scale; without one in `state`, the initial scale stays."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(dict(state))

    def step(self, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], max_norm: float) -> float:
        """Clip the gradients, run the optimizer step and return the gradients' norm before clipping.

        With a fused backward pass only the rest of the gradients is stepped with, and nothing is clipped.
        """
        if self._fused is not None:
            return self._fused.finish()
        if self._scaler.is_enabled():
            self._scaler.scale(torch.zeros((), device=self.device))  # sets it up where a rank had no batch in this step
        self._scaler.unscale_(optimizer)
        with_gradient = [p for p in parameters if p.grad is not None]
        if self._parts is None:
            norm = torch.nn.utils.clip_grad_norm_(with_gradient, max_norm or float("inf"))
        else:
            norm = clip_gradients(with_gradient, max_norm or float("inf"))
            self._parts.take_gradients()
        self._scaler.step(optimizer)
        self._scaler.update()
        return float(norm)
