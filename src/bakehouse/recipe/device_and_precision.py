"""Device and precision of a recipe on this machine, and errors for what the machine lacks."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import torch

from bakehouse.core.errors import UsageError
from bakehouse.recipe.recipe import Recipe


def pick_device(wanted: str) -> str:
    """Return `wanted`, `auto` as the best device of this machine; a device that is named is not checked."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def require_device(wanted: str) -> str:
    """Return `wanted`, `auto` as the best device of this machine.

    Raises:
        UsageError: this machine has no such device.
    """
    if wanted != "auto" and wanted not in devices_here():
        raise UsageError(f"device = {wanted!r} is not available here: use auto, {', '.join(devices_here())}")
    return pick_device(wanted)


def devices_here() -> list[str]:
    """Return every value that `train.device` may have on this machine, beside `auto`."""
    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.append("mps")
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return found


def pick_precision(wanted: str, device: str) -> str:
    """Return the precision; `auto` is what suits the device (`cpu`, `cuda:1`)."""
    if wanted != "auto":
        return wanted
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "fp32"


def missing_here(recipe: Recipe) -> Iterator[str]:
    """Yield an error for each thing that the recipe needs and this machine lacks, with the remedy."""
    train, device = recipe.train, pick_device(recipe.train.device)
    if device not in devices_here():
        yield f"train.device = {device!r} is not on this machine: available are auto, {', '.join(devices_here())}"
        return
    yield from recipe.optimizer.problems(device)
    if train.precision == "fp16" and device == "cpu":
        yield "train.precision = 'fp16' needs a GPU, but the device is a CPU: set 'auto' or 'fp32'"
    if train.fused_backward and pick_precision(train.precision, device) == "fp16":
        yield (
            f"train.precision = {train.precision!r} is fp16 here, whose loss scaling needs all gradients at once, but "
            "train.fused_backward = true frees each gradient as it is computed: set 'fp32', or leave "
            "train.fused_backward out"
        )
    if train.attention == "xformers":
        yield from _xformers(device)
    if recipe.save.tensorboard and find_spec("tensorboard") is None:
        yield "save.tensorboard = true: it is not installed; pip install 'bakehouse[tensorboard]', or leave it out"


def _xformers(device: str) -> Iterator[str]:
    if not device.startswith("cuda"):
        yield f"train.attention = 'xformers' needs a CUDA device, but the device is {device}: set 'sdpa'"
    elif find_spec("xformers") is None:
        yield "train.attention = 'xformers': it is not installed; pip install xformers, or set 'sdpa'"
