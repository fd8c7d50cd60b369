"""Fused backward pass: optimizer steps run during backward and free gradients, so that they never all exist at once.

A third of a full fine-tune's memory is gradients. LOMO: Lv et al. 2023, arXiv:2306.09782; kohya's fused_backward_pass.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bakehouse.recipe.memory_estimate import GRADIENTS_AT_ONCE


class FusedBackward:
    """Calls `optimizer.step()` for each chunk of a backward pass's gradients, and frees them.

    A chunk is at least `chunk_bytes`: a call for every weight would cost more than it saves.

    For optimizers that update each weight on its own (`OptimizerRow.each_alone`): the result is that of one step at the
    end. A weight changes once its own gradient is complete; autograd raises if the rest of the backward pass still
    needs it. It cannot detect this for adapters, which recompute ΔW in the backward pass: they must not use this.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor], chunk_bytes: int = GRADIENTS_AT_ONCE
    ) -> None:
        self._optimizer = optimizer
        self._parameters = list(parameters)
        self._chunk_bytes = chunk_bytes
        self._pending_bytes = 0
        self._norms: list[Tensor] = []
        for parameter in self._parameters:
            parameter.register_post_accumulate_grad_hook(self._on_gradient)  # type: ignore[no-untyped-call]

    def _on_gradient(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self._pending_bytes += parameter.grad.nbytes
        if self._pending_bytes >= self._chunk_bytes:
            self._step()

    def _step(self) -> None:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if gradients:
            self._norms += torch._foreach_norm(gradients)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        self._pending_bytes = 0

    def finish(self) -> float:
        """Step with the remaining gradients, and return the norm of all gradients of the pass."""
        self._step()
        norms, self._norms = self._norms, []
        return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
