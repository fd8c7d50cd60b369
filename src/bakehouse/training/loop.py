"""The loop. It receives its parts and is not edited for a new one."""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bakehouse.core.events import Event, Step
from bakehouse.core.files import key_of
from bakehouse.losses import Batch, LossFn
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe.optimizers import current_rates
from bakehouse.recipe.plan import Plan
from bakehouse.training.batch_builder import Feeder
from bakehouse.training.nan_check import NotANumberError, diagnose, is_finite
from bakehouse.training.precision import Precision
from bakehouse.training.text_cache import PromptEncoder
from bakehouse.training.training_state import TrainState

Hook = Callable[[TrainState], Iterator[Event]]
"""Called after every step with the state at hand: saves, samples, whatever comes next."""


@dataclass(frozen=True)
class Parts:
    """What the loop is made of."""

    plan: Plan
    model: Denoiser
    loss: LossFn
    feeder: Feeder
    prompts: PromptEncoder
    precision: Precision
    hooks: tuple[Hook, ...] = ()


@dataclass(frozen=True)
class _Measured:
    """A step's losses, still on the device, and what belongs to them."""

    step: int
    losses: Tensor
    batches: tuple[Batch, ...]


def train(parts: Parts, state: TrainState) -> Iterator[Event]:
    """Goes on from `state.step` to the plan's end, or until a hook says in `state.ended` that it is enough.

    Every random number of step k comes from the seed and k, so a run that goes on draws what it would have drawn.

    Raises:
        NotANumberError: a loss is not a number; the last checkpoint is untouched.
    """
    plan = parts.plan
    norms: deque[float] = deque(maxlen=5)
    started, shown = time.monotonic(), 0
    while state.step < plan.steps and not state.ended:
        measured, norm = _step(parts, state)
        losses = measured.losses.tolist()
        norms.append(norm)
        if not all(map(is_finite, losses)):
            half = parts.precision.dtype is not torch.float32
            cause = diagnose(parts.model, state.adapter, measured.batches[0], norms, plan.recipe, half=half)
            raise NotANumberError(f"step {state.step}: the loss is not a number: {cause}")
        shown += len(losses)
        yield _event(plan, state, measured, losses, shown / (time.monotonic() - started))
        for hook in parts.hooks:
            yield from hook(state)


def _step(parts: Parts, state: TrainState) -> tuple[_Measured, float]:
    """One optimizer step; `state.step` counts it."""
    recipe, step = parts.plan.recipe, state.step
    factor = recipe.schedule.factor(step, parts.plan.steps)
    for group in state.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    groups = parts.feeder.slots(step)
    total = sum(len(slots) for slots in groups)
    losses, batches = [], []
    for part, slots in enumerate(groups):
        generator = seed_all(recipe.seed, step, part)
        with parts.precision.autocast():
            batch = parts.feeder.batch(slots, step, part, parts.prompts, generator)
            each = parts.loss(parts.model, state.adapter, batch, generator)
        parts.precision.backward((each * batch.weight).sum() / total)
        losses.append(each.detach())
        batches.append(batch)
    norm = parts.precision.step(state.optimizer, state.parameters(), recipe.train.max_grad_norm)
    state.optimizer.zero_grad(set_to_none=True)
    state.adapter.limit()
    state.step += 1
    _average(state, recipe.train.ema)
    return _Measured(state.step, torch.cat(losses), tuple(batches)), norm


def seed_all(seed: int, step: int, part: int) -> torch.Generator:
    """Seeds torch's own numbers (dropout) and returns the generator of noise and timesteps."""
    drawn = int(key_of("step", seed, step, part)[:15], 16)
    torch.manual_seed(drawn)
    return torch.Generator().manual_seed(drawn + 1)


def _average(state: TrainState, decay: float) -> None:
    """Exponential moving average, warmed up so that early steps do not weigh for ever."""
    if not state.ema:
        return
    decay = min(decay, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        torch._foreach_lerp_(state.ema, state.parameters(), 1 - decay)


def _event(plan: Plan, state: TrainState, measured: _Measured, losses: list[float], rate: float) -> Step:
    prior = torch.cat([b.is_prior for b in measured.batches]).tolist()
    weights = torch.cat([b.weight for b in measured.batches]).tolist()
    return Step(
        step=state.step,
        epoch=(state.step - 1) // plan.steps_per_epoch + 1,
        loss=sum(x * w for x, w in zip(losses, weights, strict=True)) / len(losses),
        subject_loss=_mean([x for x, p in zip(losses, prior, strict=True) if not p]),
        prior_loss=_mean([x for x, p in zip(losses, prior, strict=True) if p]),
        rates=current_rates(state.optimizer),
        images_per_s=rate,
        memory=memory_in_use(),
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def memory_in_use() -> int:
    """Peak bytes: of the device where it is a GPU, of the process otherwise."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
