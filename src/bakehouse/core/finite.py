"""Checking tensors for NaN and infinity when they are read. `torch` is not imported here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bakehouse.core.errors import BakehouseError


def count_not_finite(tensor: Any) -> int:
    """Return how many numbers of a tensor are NaN or infinite.

    The sum is finite only if all numbers are: one pass without a copy, 50 ms per GB on one core, where `isfinite` takes
    1 to 2 s. Only if the sum is not finite are they counted; in fp16 it may be so because it overflows.
    """
    if not tensor.is_floating_point():
        return 0
    values = tensor if tensor.element_size() > 1 else tensor.half()  # 8-bit floats have no sum()
    if math.isfinite(float(values.sum())):
        return 0
    return int((~values.isfinite()).sum())


def check_finite(tensors: Mapping[str, Any], source: object, *, hint: str) -> None:
    """Raise if a tensor holds NaN or infinity.

    Args:
        source: the file, for the message.
        hint: the next step.

    Raises:
        BakehouseError: names the first such tensor, how many of its numbers, and how many other tensors.
    """
    found = {name: count for name, tensor in tensors.items() if (count := count_not_finite(tensor))}
    if found:
        name, count = next(iter(found.items()))
        raise BakehouseError(
            not_finite_message(source, name, count, tensors[name].numel(), more=len(found) - 1), hint=hint
        )


def not_finite_message(source: object, name: str, count: int, of: int, *, more: int = 0) -> str:
    """Return the message about a tensor that holds NaN or infinity."""
    others = f"; so do {more} more tensors" if more else ""
    return f"{source}: {name} holds NaN or infinity in {count} of {of} numbers{others}"
