"""The arithmetic: which numbers are computed in half precision, and how small gradients survive it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from bakehouse.core.errors import UsageError
from bakehouse.training.fused_backward import EarlySteps

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Precision:
    """Autocast, loss scaling (fp16 alone) and clipping behind three verbs."""

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
        self._early: EarlySteps | None = None

    def autocast(self) -> AbstractContextManager[object]:
        """The context of forward passes."""
        if self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def step_on_the_way(self, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> None:
        """From now on a backward pass steps as gradients come.

        Raises:
            UsageError: with fp16, whose scale has to see all gradients before any is used.
        """
        if self._scaler.is_enabled():
            raise UsageError(
                "train.fused_backward = true does not go with fp16, whose loss scale looks at all gradients at once",
                hint="set train.precision = 'bf16' or 'fp32', or leave train.fused_backward out",
            )
        self._early = EarlySteps(optimizer, parameters)

    def backward(self, loss: Tensor) -> None:
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def state_dict(self) -> dict[str, Any]:
        """The loss scale and how long it has held; empty without one. Nothing but numbers."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with a state's loss scale; a state without one begins anew."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(dict(state))

    def step(self, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], max_norm: float) -> float:
        """Clips, steps and returns the gradients' norm. What stepped on the way back is finished, and not clipped."""
        if self._early is not None:
            return self._early.finish()
        self._scaler.unscale_(optimizer)
        learning = [p for p in parameters if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(learning, max_norm or float("inf"))
        self._scaler.step(optimizer)
        self._scaler.update()
        return float(norm)
