"""Averaged weights: the moving average (EMA) is updated after each step, and swapped in to save, sample and score."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bakehouse.training.sharding import own_part
from bakehouse.training.training_state import TrainState


def update_ema(state: TrainState, decay: float) -> None:
    """Move the average towards the parameters; the decay is warmed up, so that early steps are soon forgotten."""
    if not state.ema:
        return
    decay = min(decay, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        averages, parameters = ([own_part(t) for t in tensors] for tensors in (state.ema, state.parameters()))
        torch._foreach_lerp_(averages, parameters, 1 - decay)


@contextlib.contextmanager
def averaged_weights(state: TrainState) -> Iterator[None]:
    """Inside the block, parameters are what is saved: a schedule-free optimizer's x, the EMA, or what they were.

    Schedule-free optimizers (Defazio et al. 2024, arXiv:2405.15682) compute gradients at y, and their trained weights
    are x. Their own conversion of x back to y rounds, so y is kept and restored bit for bit instead.
    """
    schedule_free = hasattr(state.optimizer, "eval") and hasattr(state.optimizer, "train")
    if not schedule_free and not state.ema:
        yield
        return
    parameters = state.parameters()
    current = [p.detach().clone() for p in parameters]
    try:
        if schedule_free:
            state.optimizer.eval()  # type: ignore[attr-defined]
        else:
            _copy(state.ema, parameters)
        yield
    finally:
        if schedule_free:
            state.optimizer.train()  # type: ignore[attr-defined]
        _copy(current, parameters)


@torch.no_grad()
def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    for a, b in zip(source, target, strict=True):
        b.copy_(a)
