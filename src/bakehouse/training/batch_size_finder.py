"""Batch-size finder: the largest batch that fits, for `train.batch = "auto"`."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator

import torch

from bakehouse.core.events import Event, Progress
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe import Plan
from bakehouse.recipe.device_and_precision import pick_device
from bakehouse.recipe.memory_estimate import memory_use
from bakehouse.training.objective import Objective, make_objective
from bakehouse.training.out_of_memory import (
    MARGIN,
    available_memory,
    family_name,
    is_out_of_memory,
    out_of_memory_error,
)
from bakehouse.training.precision import Precision
from bakehouse.training.prepare import load_base, new_state
from bakehouse.training.training_state import TrainState


def find_batch_size(plan: Plan, devices: int = 1) -> Generator[Event, None, int]:
    """Return the largest batch that fits on the recipe's device and leaves one for each device; yields progress.

    The model is loaded for the trials and released again. On a CPU nothing is tried, since running out of memory ends
    the process or swaps for ever: the memory estimate decides.

    Raises:
        BakehouseError: a single image does not fit.
    """
    device = torch.device(pick_device(plan.recipe.train.device))
    if device.type == "cpu":
        return (yield from largest_batch(plan, lambda size: _estimate_fits(plan, size, device, devices), devices))
    base = yield from load_base(plan.recipe)
    precision = Precision(base.precision, base.model.device)
    state = new_state(plan, base.model, precision)
    objective = make_objective(plan, base.model, state.adapter)
    trial = make_trial(base.model, objective, state, precision, plan.recipe.train.max_grad_norm)
    return (yield from largest_batch(plan, lambda size: trial_fits(trial, size, device), devices))


def largest_batch(plan: Plan, fits: Callable[[int], bool], devices: int = 1) -> Generator[Event, None, int]:
    """Return the largest power of two that divides a step's images and fits, tried from 1 up; yields progress.

    Raises:
        BakehouseError: a single image does not fit.
    """
    images = plan.recipe.train.accumulation
    sizes = [size for size in batch_sizes(images) if images // size >= devices]
    best = 0
    for done, size in enumerate(sizes):
        yield Progress(what="finding the batch that fits", done=done, total=len(sizes))
        if not fits(size):
            break
        best = size
    yield Progress(what="finding the batch that fits", done=len(sizes), total=len(sizes))
    if not best:
        raise out_of_memory_error(plan.recipe.with_values({"train.batch": 1}), 0)
    return best


def batch_sizes(images: int) -> list[int]:
    """Return 1, 2, 4, ... as far as they divide a step's images."""
    sizes = [1]
    while images % (sizes[-1] * 2) == 0:
        sizes.append(sizes[-1] * 2)
    return sizes


def _estimate_fits(plan: Plan, size: int, device: torch.device, devices: int) -> bool:
    """Return whether a batch fits into this machine's memory, which as many processes share."""
    available = available_memory(device)
    recipe = plan.recipe.with_values({"train.batch": size})
    needed = devices * memory_use(recipe, family_name(recipe), device.type).total
    return available is None or needed <= MARGIN * available


def trial_fits(trial: Callable[[int], None], size: int, device: torch.device) -> bool:
    """Run a trial, and return whether it stayed within the device's memory, with a margin."""
    available = available_memory(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        trial(size)
        peak = _peak_memory(device)
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        return False
    finally:
        _release_memory(device)
    return available is None or peak <= MARGIN * available


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    return int(torch.mps.driver_allocated_memory()) if device.type == "mps" else 0


def _release_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def make_trial(
    model: Denoiser, objective: Objective, state: TrainState, precision: Precision, max_grad_norm: float
) -> Callable[[int], None]:
    """Return a function that makes two steps on a random batch of the largest bucket.

    The second step has the optimizer's states in memory too.
    """

    def trial(size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        for _ in range(2):
            with precision.autocast():
                batch = objective.trial_batch(size, generator)
                each = objective.loss(model, state.adapter, batch, generator)
            precision.backward(each.mean())
            precision.step(state.optimizer, state.parameters(), max_grad_norm)
            state.optimizer.zero_grad(set_to_none=True)

    return trial
