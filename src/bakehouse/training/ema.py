"""The weights to look at: averaged where an average is kept, and the current ones put back bit for bit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bakehouse.training.training_state import TrainState


@contextlib.contextmanager
def averaged(state: TrainState) -> Iterator[None]:
    """In the block, parameters are what is saved, sampled and judged: a schedule-free optimizer's x, the EMA, or as is.

    Schedule-free optimizers (Defazio et al. 2024, arXiv:2405.15682) compute gradients at y, and what they have learned
    is x. Their own way back from x to y rounds, so y is kept instead.
    """
    turns = hasattr(state.optimizer, "eval") and hasattr(state.optimizer, "train")
    if not turns and not state.ema:
        yield
        return
    parameters = state.parameters()
    current = [p.detach().clone() for p in parameters]
    try:
        if turns:
            state.optimizer.eval()  # type: ignore[attr-defined]
        else:
            _copy(state.ema, parameters)
        yield
    finally:
        if turns:
            state.optimizer.train()  # type: ignore[attr-defined]
        _copy(current, parameters)


@torch.no_grad()
def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    for a, b in zip(source, target, strict=True):
        b.copy_(a)
