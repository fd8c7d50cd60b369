"""Stopping a slider: a run whose ends do not change any more is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.core.events import Event, Stopped
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.recipe.plan import Plan
from bakehouse.training.ema import averaged_weights
from bakehouse.training.training_state import TrainState

_BEFORE, _CALM = "ends_before", "ends_calm"


@dataclass(frozen=True)
class SettledCallback:
    """Compares the slider's ends after each epoch with those of the epoch before."""

    plan: Plan
    ends: Callable[[], Tensor]
    """Returns the difference between both ends, as the model draws them now."""
    carried: dict[str, Tensor]
    """Saved with the state: the ends before, and the number of epochs in which they hardly changed."""

    def on_start(self, state: TrainState) -> Iterator[Event]:
        """Do nothing: there is nothing to compare with yet, or it was saved."""
        yield from ()

    def on_step(self, state: TrainState) -> Iterator[Event]:
        """End the run after `stop.patience` epochs in a row in which the ends changed by less than `stop.change`."""
        if state.step % self.plan.steps_per_epoch or state.step >= self.plan.steps or state.ended:
            return
        spec = self.plan.recipe.stop
        with averaged_weights(state):
            now = self.ends()
        before = self.carried.get(_BEFORE)
        change = relative_change(before.to(now.device), now) if before is not None else float("inf")
        calm = int(self.carried.get(_CALM, torch.tensor(0))) + 1 if change < spec.change else 0
        self.carried.update({_BEFORE: now.cpu(), _CALM: torch.tensor(calm)})
        if calm >= spec.patience:
            state.ended = f"the slider's ends changed by {change:.1%} in the last epoch (stop.change = {spec.change:g})"
            yield Stopped(step=state.step, why=state.ended)


@torch.no_grad()
def ends_apart(
    model: Denoiser,
    adapter: Adapter,
    cond: Conditioning,
    points: Iterable[tuple[Tensor, Tensor]],
    strengths: tuple[float, float],
) -> Tensor:
    """Return the difference between the predictions at two strengths, [N, C, h, w] fp32.

    Args:
        model: with the adapter on it.
        adapter: the slider.
        cond: the prompt, one row.
        points: noisy images [B, C, h, w] with their timesteps [B].
        strengths: of both ends.
    """
    found = []
    for x_t, t in points:
        both = []
        for strength in strengths:
            with adapter.scaled(strength):
                both.append(model(x_t, t.to(x_t.device), cond[[0] * len(x_t)]).float())
        found.append(both[0] - both[1])
    return torch.cat(found)


def relative_change(before: Tensor, now: Tensor) -> float:
    """Return the norm of the change as a share of the norm of `now`; infinite where `now` is zero."""
    size = float(now.norm())
    return float((now - before).norm()) / size if size else float("inf")
