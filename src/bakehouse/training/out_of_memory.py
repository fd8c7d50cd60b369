"""Out of memory: how it is recognised on every device, and the error with settings that would fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from bakehouse.core import system_memory
from bakehouse.core.errors import BakehouseError
from bakehouse.models.families import family_of
from bakehouse.recipe import Recipe
from bakehouse.recipe.device_and_precision import pick_device
from bakehouse.recipe.memory_estimate import GB, memory_use, savings

MARGIN = 0.9
"""Share of the device's memory that a batch may use: buckets and fragmentation differ from step to step."""

_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory", "alloc_failed")
"""Parts of the errors of CUDA's libraries, MPS and the CPU's allocator; only CUDA's own allocator has a type for it."""


class OutOfMemory(BakehouseError):  # noqa: N818 - MemoryError is Python's
    """A device has no more memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a device, or the machine, has no more memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error).lower() for part in _MESSAGES)


def available_memory(device: torch.device) -> int | None:
    """Return the bytes that training may use on `device`, including what it uses already; None if unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return system_memory.available_memory()


def family_name(recipe: Recipe) -> str:
    """Return the base model's family, the name of its memory estimate: `crumb`, `sd1`, `sdxl`."""
    return family_of(recipe.model.base).name


def out_of_memory_error(recipe: Recipe, step: int, limit: int | None = None) -> BakehouseError:
    """Return an error with settings that would fit, cheapest first, each with its memory estimate.

    `limit` are the device's bytes, measured if not given. If the recipe should have fitted by the estimate, all
    estimates are scaled up so that it does not.
    """
    device = torch.device(pick_device(recipe.train.device))
    limit = limit if limit is not None else available_memory(device)
    family = family_name(recipe)
    needed = memory_use(recipe, family, device.type)
    scale = max(1.0, 1.05 * limit / needed.total) if limit else 1.0
    available = f" has {limit / GB:.1f} GB," if limit else ":"
    return OutOfMemory(
        f"out of memory at step {step + 1}: {device}{available} the training needs about "
        f"{needed.total * scale / GB:.1f} GB",
        hint="\n  ".join(_advice(recipe, family, device.type, scale, limit)),
    )


def _advice(recipe: Recipe, family: str, device: str, scale: float, limit: int | None) -> Iterator[str]:
    """Yield lines of settings, each in addition to those before it, up to the first that fits."""
    yield "add these settings, in this order, until it fits:"
    for changes, price in savings(recipe, device):
        recipe = recipe.with_values(_replacing_adapter(changes))
        needed = memory_use(recipe, family, device).total * scale
        options = " ".join(f"--set {key}={_toml(value)}" for key, value in changes.items())
        fits = limit is not None and needed <= MARGIN * limit
        yield f"{options}: {needed / GB:.1f} GB{' - fits' if fits else ''} ({price})"
        if fits:
            return
    yield "no setting saves more: use a device with more memory, or train.device = 'cpu'"


def _replacing_adapter(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the whole adapter table where its kind changes: another kind has other settings."""
    kind = changes.get("adapter.kind")
    return {"adapter": {"kind": kind}} if kind else dict(changes)


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
