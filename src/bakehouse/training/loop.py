"""The training loop: optimizer steps and the callbacks after each of them."""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from bakehouse.core.events import Event, Step
from bakehouse.core.files import key_of
from bakehouse.losses import Batch
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe.optimizers import current_rates
from bakehouse.recipe.plan import Plan
from bakehouse.training.ema import update_ema
from bakehouse.training.nan_check import NotANumberError, diagnose, is_finite
from bakehouse.training.objective import AnyObjective
from bakehouse.training.precision import Precision
from bakehouse.training.step_callbacks import Callback
from bakehouse.training.training_state import TrainState


@dataclass(frozen=True)
class TrainingComponents:
    """What the loop trains with; `TrainState` is what it changes."""

    plan: Plan
    model: Denoiser
    objective: AnyObjective
    precision: Precision


@dataclass(frozen=True)
class _StepResult:
    """A step's losses [B], still on the device, and its batches."""

    losses: Tensor
    batches: tuple[Batch, ...]
    gradient_norm: float


def run_loop(components: TrainingComponents, state: TrainState, callbacks: Sequence[Callback] = ()) -> Iterator[Event]:
    """Train from `state.step` to the plan's end, or until a callback sets `state.ended`.

    Every random number of step k comes from the seed and k, so a resumed run draws the same numbers.

    Raises:
        NotANumberError: a loss is not a number; saved states are untouched.
    """
    plan = components.plan
    norms: deque[float] = deque(maxlen=5)
    for callback in callbacks:
        yield from callback.on_start(state)
    started, trained = time.monotonic(), 0
    while state.step < plan.steps and not state.ended:
        result = _optimizer_step(components, state)
        losses = result.losses.tolist()
        norms.append(result.gradient_norm)
        if not all(map(is_finite, losses)):
            half = components.precision.dtype is not torch.float32
            cause = diagnose(components.model, state.adapter, result.batches[0], norms, plan.recipe, half=half)
            raise NotANumberError(f"step {state.step}: the loss is not a number: {cause}")
        trained += len(losses)
        yield _step_event(plan, state, result.batches, losses, trained / (time.monotonic() - started))
        for callback in callbacks:
            yield from callback.on_step(state)


def _optimizer_step(components: TrainingComponents, state: TrainState) -> _StepResult:
    """Make one optimizer step over all its batches; `state.step` counts it."""
    recipe, step = components.plan.recipe, state.step
    objective, precision = components.objective, components.precision
    factor = recipe.schedule.factor(step, components.plan.steps)
    for group in state.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    state.adapter.begin_step(step / components.plan.steps)
    sizes = objective.batch_sizes(step)
    losses, batches = [], []
    for part in range(len(sizes)):
        generator = seed_batch(recipe.seed, step, part)
        with precision.autocast():
            batch = objective.batch(step, part, generator)
        with nullcontext() if batch.strength == 1 else state.adapter.scaled(batch.strength):
            with precision.autocast():
                each = objective.loss(components.model, state.adapter, batch, generator)
            precision.backward((each * batch.weight).sum() / sum(sizes))
        losses.append(each.detach())
        batches.append(batch)
    norm = precision.step(state.optimizer, state.parameters(), recipe.train.max_grad_norm)
    state.optimizer.zero_grad(set_to_none=True)
    state.adapter.apply_max_norm()
    state.step += 1
    update_ema(state, recipe.train.ema)
    return _StepResult(torch.cat(losses), tuple(batches), norm)


def seed_batch(seed: int, step: int, part: int) -> torch.Generator:
    """Seed torch's global generator (dropout) for one batch, and return the generator of its noise and timesteps."""
    drawn = int(key_of("step", seed, step, part)[:15], 16)
    torch.manual_seed(drawn)
    return torch.Generator().manual_seed(drawn + 1)


def _step_event(
    plan: Plan, state: TrainState, batches: Sequence[Batch], losses: list[float], images_per_s: float
) -> Step:
    prior = torch.cat([b.is_prior for b in batches]).tolist()
    weights = torch.cat([b.weight for b in batches]).tolist()
    return Step(
        step=state.step,
        epoch=(state.step - 1) // plan.steps_per_epoch + 1,
        loss=sum(x * w for x, w in zip(losses, weights, strict=True)) / len(losses),
        subject_loss=_mean([x for x, p in zip(losses, prior, strict=True) if not p]),
        prior_loss=_mean([x for x, p in zip(losses, prior, strict=True) if p]),
        rates=current_rates(state.optimizer),
        images_per_s=images_per_s,
        memory=peak_memory(),
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def peak_memory() -> int:
    """Return the peak bytes in use: of the device where it is a CUDA GPU, of the process otherwise."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
