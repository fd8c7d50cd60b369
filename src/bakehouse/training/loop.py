"""The training loop: optimizer steps and the callbacks after each of them."""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
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
from bakehouse.training.nan_check import NotANumberError, broken_weights, diagnose, is_finite
from bakehouse.training.objective import AnyObjective
from bakehouse.training.precision import Precision
from bakehouse.training.ranks import ALONE, Ranks
from bakehouse.training.sharding import is_divided
from bakehouse.training.step_callbacks import Callback
from bakehouse.training.training_state import TrainState


@dataclass(frozen=True)
class TrainingComponents:
    """What the loop trains with; `TrainState` is what it changes."""

    plan: Plan
    model: Denoiser
    objective: AnyObjective
    precision: Precision
    ranks: Ranks = ALONE


@dataclass(frozen=True)
class _StepResult:
    """What a step's samples gave, of all ranks, and this rank's batches."""

    samples: Tensor
    """[B, 3], still on the device: loss, weight, and 1 for class images."""
    batches: Mapping[int, Batch]
    """By their numbers."""
    gradient_norm: float


def run_loop(
    components: TrainingComponents, state: TrainState, callbacks: Sequence[Callback] = ()
) -> Generator[Event, None, None]:
    """Train from `state.step` to the plan's end, or until a callback sets `state.ended`.

    Every random number of step k comes from the seed and k, so a resumed run draws the same numbers.

    Raises:
        NotANumberError: a loss is not a number; saved states are untouched.
    """
    plan = components.plan
    norms: deque[float] = deque(maxlen=5)
    for callback in callbacks:
        yield from callback.on_start(state)
    if state.unfinished and not state.ended:
        yield from _after_step(components, state, callbacks)
    started, trained = time.monotonic(), 0
    while state.step < plan.steps and not state.ended:
        with components.ranks.noticing_ends():
            result = _optimizer_step(components, state)
        samples = result.samples.tolist()
        norms.append(result.gradient_norm)
        if not all(is_finite(loss) for loss, _, _ in samples):
            raise NotANumberError(
                f"step {state.step}: the loss is not a number: {_cause(components, state, result, norms)}"
            )
        trained += len(samples)
        state.unfinished = True
        yield _step_event(plan, state, samples, trained / (time.monotonic() - started))
        yield from _after_step(components, state, callbacks)


def _after_step(
    components: TrainingComponents, state: TrainState, callbacks: Sequence[Callback]
) -> Generator[Event, None, None]:
    """Do what follows a step; where the training was interrupted meanwhile, all of it is done again when it resumes."""
    for callback in callbacks:
        yield from callback.on_step(state)
    state.unfinished = False


def _optimizer_step(components: TrainingComponents, state: TrainState) -> _StepResult:
    """Make one optimizer step over all its batches; `state.step` counts it."""
    recipe, step = components.plan.recipe, state.step
    objective, precision = components.objective, components.precision
    factor = recipe.schedule.factor(step, components.plan.steps)
    for group in state.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    state.adapter.begin_step(step / components.plan.steps)
    sizes = objective.batch_sizes(step)
    table = [torch.zeros(size, 3, device=components.model.device) for size in sizes]
    batches: dict[int, Batch] = {}
    for part, counts in _passes(components.ranks, len(sizes), divided=state.is_divided):
        generator = seed_batch(recipe.seed, step, part)
        with precision.autocast():
            batch = objective.batch(step, part, generator)
        with nullcontext() if batch.strength == 1 else state.adapter.scaled(batch.strength):
            with precision.autocast():
                each = objective.loss(components.model, state.adapter, batch, generator)
            precision.backward((each * batch.weight).sum() / sum(sizes) * counts)
        if counts:
            table[part] = _samples(each, batch)
            batches[part] = batch
    components.ranks.sum_gradients([p for p in state.parameters() if not is_divided(p)])
    norm = precision.step(state.optimizer, state.parameters(), recipe.train.max_grad_norm)
    state.optimizer.zero_grad(set_to_none=True)
    state.adapter.apply_max_norm()
    state.step += 1
    update_ema(state, recipe.train.ema)
    return _StepResult(components.ranks.sum(torch.cat(table)), batches, norm)


def _passes(ranks: Ranks, batches: int, *, divided: bool) -> list[tuple[int, int]]:
    """Return the numbers of this rank's batches in a step, each with the factor 1.

    Divided weights are computed with by all ranks at once: one that has a batch less computes the first, times 0.
    """
    own = [(part, 1) for part in ranks.share(range(batches))]
    idle = -(-batches // ranks.count) - len(own) if divided else 0
    return own + [(0, 0)] * idle


def _samples(losses: Tensor, batch: Batch) -> Tensor:
    """Return a batch's rows of `_StepResult.samples`."""
    return torch.stack([losses.detach().float(), batch.weight.float(), batch.is_prior.to(losses.device).float()], dim=1)


def _cause(components: TrainingComponents, state: TrainState, result: _StepResult, norms: Sequence[float]) -> str:
    """Return why a loss is not a number, as the rank that had its batch found it."""
    recipe, half = components.plan.recipe, components.precision.dtype is not torch.float32
    sizes = components.objective.batch_sizes(state.step - 1)
    finite = [bool(torch.isfinite(losses).all()) for losses in torch.split(result.samples[:, 0], sizes)]
    bad = next((batch for part, batch in result.batches.items() if not finite[part]), None)
    broken = [name for of_rank in components.ranks.gathered(broken_weights(state.adapter)) for name in of_rank]
    own = (
        None if bad is None else diagnose(components.model, state.adapter, bad, norms, recipe, half=half, broken=broken)
    )
    return next(cause for cause in components.ranks.gathered(own) if cause)


def seed_batch(seed: int, step: int, part: int) -> torch.Generator:
    """Seed torch's global generator (dropout) for one batch, and return the generator of its noise and timesteps."""
    drawn = int(key_of("step", seed, step, part)[:15], 16)
    torch.manual_seed(drawn)
    return torch.Generator().manual_seed(drawn + 1)


def _step_event(plan: Plan, state: TrainState, samples: Sequence[Sequence[float]], images_per_s: float) -> Step:
    return Step(
        step=state.step,
        epoch=(state.step - 1) // plan.steps_per_epoch + 1,
        loss=sum(loss * weight for loss, weight, _ in samples) / len(samples),
        subject_loss=_mean([loss for loss, _, is_prior in samples if not is_prior]),
        prior_loss=_mean([loss for loss, _, is_prior in samples if is_prior]),
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
