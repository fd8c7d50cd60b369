"""When memory is short: the largest batch that fits is found by trying; an overflow is answered with what would fit."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bakehouse.adapters import Adapter
from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event, Progress
from bakehouse.losses import Batch, LossFn
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.families import family_of
from bakehouse.recipe import Plan, Recipe
from bakehouse.recipe.hardware import pick_device
from bakehouse.recipe.memory_estimate import GB, memory_use, savings
from bakehouse.training.precision import Precision

MARGIN = 0.9
"""Of the device's memory a batch may fill: buckets and fragments differ from step to step."""

_CRIES = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory", "alloc_failed")
"""How CUDA's libraries, MPS and the CPU's allocator say it; only CUDA's own allocator has a type for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no more memory to give."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(cry in str(error).lower() for cry in _CRIES)


def available_bytes(device: torch.device) -> int | None:
    """What a training may use on `device`, what it uses already included; None where nobody can tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return _available_ram()


def _available_ram() -> int | None:
    """Linux says what can be had without swapping; elsewhere half of what is built in is a safe guess."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pass
    if sys.platform == "win32":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def family_name(recipe: Recipe) -> str:
    """The name by which the model of memory knows the base."""
    return family_of(recipe.model.base).name


def out_of_memory(recipe: Recipe, step: int, limit: int | None = None) -> BakehouseError:
    """One message with what would fit: settings in the order of what they cost, each with its estimate.

    `limit` are the device's bytes. Where the estimate says that the recipe should have fitted, all estimates are
    raised by what is missing: the device knows better.
    """
    device = torch.device(pick_device(recipe.train.device))
    limit = limit if limit is not None else available_bytes(device)
    family = family_name(recipe)
    needed = memory_use(recipe, family, device.type)
    scale = max(1.0, 1.05 * limit / needed.total) if limit else 1.0
    room = f" has {limit / GB:.1f} GB, and that" if limit else ""
    return BakehouseError(
        f"out of memory at step {step + 1}: {device}{room} was not enough for about {needed.total * scale / GB:.1f} GB",
        hint="\n  ".join(_advice(recipe, family, device.type, scale, limit)),
    )


def _advice(recipe: Recipe, family: str, device: str, scale: float, limit: int | None) -> Iterator[str]:
    """Lines of settings, each on top of those before it, up to the first that fits."""
    yield "add these in their order until it fits:"
    for changes, price in savings(recipe, device):
        recipe = recipe.with_values(_replacing_adapter(changes))
        needed = memory_use(recipe, family, device).total * scale
        words = " ".join(f"--set {key}={_toml(value)}" for key, value in changes.items())
        fits = limit is not None and needed <= MARGIN * limit
        yield f"{words}: {needed / GB:.1f} GB{' - fits' if fits else ''} ({price})"
        if fits:
            return
    yield "more than that no setting saves: take a device with more memory, or train.device = 'cpu'"


def _replacing_adapter(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Another kind of adapter takes none of the old one's settings with it."""
    kind = changes.get("adapter.kind")
    return {"adapter": {"kind": kind}} if kind else dict(changes)


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def largest_batch(
    plan: Plan,
    trial: Callable[[int], None],
    device: torch.device,
) -> Generator[Event, None, int]:
    """The largest power of two that divides a step's images and fits.

    On a device with a memory of its own each size is tried, from the smallest up, by `trial`: a forward and backward
    pass and a step of the optimizer on the largest bucket. On a CPU running out of memory ends the process or swaps for
    ever, so there the estimate decides.

    Raises:
        BakehouseError: a single image does not fit.
    """
    sizes = powers_of_two(plan.recipe.train.accumulation)
    best = 0
    for done, size in enumerate(sizes):
        yield Progress(what="finding the batch that fits", done=done, total=len(sizes))
        if not (_estimate_fits(plan, size, device) if device.type == "cpu" else _fits(trial, size, device)):
            break
        best = size
    yield Progress(what="finding the batch that fits", done=len(sizes), total=len(sizes))
    if not best:
        raise out_of_memory(plan.recipe.with_values({"train.batch": 1}), 0)
    return best


def powers_of_two(images: int) -> list[int]:
    """1, 2, 4, ... as far as they divide a step's images."""
    sizes = [1]
    while images % (sizes[-1] * 2) == 0:
        sizes.append(sizes[-1] * 2)
    return sizes


def _estimate_fits(plan: Plan, size: int, device: torch.device) -> bool:
    room = available_bytes(device)
    recipe = plan.recipe.with_values({"train.batch": size})
    return room is None or memory_use(recipe, family_name(recipe), device.type).total <= MARGIN * room


def _fits(trial: Callable[[int], None], size: int, device: torch.device) -> bool:
    """Tries; what the attempt leaves behind is given back."""
    room = available_bytes(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        trial(size)
        peak = _peak(device)
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        return False
    finally:
        _give_back(device)
    return room is None or peak <= MARGIN * room


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    return int(torch.mps.driver_allocated_memory()) if device.type == "mps" else 0


def _give_back(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def trial_of(
    plan: Plan,
    model: Denoiser,
    adapter: Adapter,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    loss: LossFn,
) -> Callable[[int], None]:
    """Two whole steps on the largest bucket with made-up images; the second has the optimizer's states beside it."""
    width, height = max((i.placement.bucket for i in plan.images), key=lambda b: b[0] * b[1])
    shape = model.latent_shape(width, height)
    words = plan.recipe.concepts[0].subject
    limit = plan.recipe.train.max_grad_norm

    def trial(size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        for _ in range(2):
            with precision.autocast():
                latents = torch.randn(size, *shape, generator=generator).to(model.device)
                with torch.set_grad_enabled(adapter.trains_text):
                    cond = model.encode_prompt([words] * size, clip_skip=plan.recipe.model.clip_skip)
                ones = torch.ones(size, device=model.device)
                batch = Batch(latents, cond, ones, torch.zeros(size, dtype=torch.bool))
                each = loss(model, adapter, batch, generator)
            precision.backward(each.mean())
            precision.step(optimizer, list(adapter.parameters()), limit)
            optimizer.zero_grad(set_to_none=True)

    return trial
