"""Optimizer steps on the way back: gradients are used as they come and let go, so that they never all exist at once.

Of a full fine-tune's memory a third is gradients. LOMO: Lv et al. 2023, arXiv:2306.09782; kohya's fused_backward_pass.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bakehouse.recipe.memory_estimate import GRADIENTS_AT_ONCE


class EarlySteps:
    """Calls `optimizer.step()` for each piece of a backward pass's gradients, and frees them.

    A piece is so many bytes at least: a call for every weight would cost more than it saves.

    For optimizers that look at each weight alone (`OptimizerRow.each_alone`): the result is that of one step at the
    end. A weight moves once its own gradient is whole; were it still needed on the way back, autograd would refuse. It
    cannot refuse what adapters do, which make ΔW anew on the way back: they are not for this.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor], piece: int = GRADIENTS_AT_ONCE
    ) -> None:
        self._optimizer = optimizer
        self._parameters = list(parameters)
        self._piece = piece
        self._gathered = 0
        self._norms: list[Tensor] = []
        for parameter in self._parameters:
            parameter.register_post_accumulate_grad_hook(self._came)  # type: ignore[no-untyped-call]

    def _came(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self._gathered += parameter.grad.nbytes
        if self._gathered >= self._piece:
            self._step()

    def _step(self) -> None:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if gradients:
            self._norms += torch._foreach_norm(gradients)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        self._gathered = 0

    def finish(self) -> float:
        """Steps with what is left; the length of all of the pass's gradients."""
        self._step()
        norms, self._norms = self._norms, []
        return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
