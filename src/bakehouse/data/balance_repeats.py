"""Balancing the repeats of concepts, so that each is shown about equally often."""

from __future__ import annotations

from collections.abc import Mapping

from bakehouse.core.errors import UsageError

TOLERANCE = 0.15
"""Concepts whose images x repeats are this near to the target count as balanced."""


def balance_repeats(counts: Mapping[str, int], target: int) -> dict[str, int]:
    """Return the repeats of each concept for which images x repeats is about `target` images an epoch.

    Rounded down, at least 1; one more if only that is within 15 %. `unbalanced` names the concepts that still miss it.

    Raises:
        UsageError: a concept without images, or a target below 1.
    """
    if target < 1:
        raise UsageError(f"target = {target}: must be 1 or more images an epoch")
    if empty := [name for name, count in counts.items() if count < 1]:
        raise UsageError(f"no images in {', '.join(empty)}", hint="add images or remove the concept from the recipe")
    return {name: _repeats(count, target) for name, count in counts.items()}


def fair_target(counts: Mapping[str, int], target: int) -> int:
    """Return the target within 25 % of `target` at which the concepts are most equal.

    40 and 20 images at 100 would be shown 80 and 100 times an epoch; at 120 both are shown 120 times.
    """

    def spread(t: int) -> tuple[float, int]:
        shows = [counts[name] * repeats for name, repeats in balance_repeats(counts, t).items()]
        return max(shows) / min(shows), abs(t - target)

    return min(range(max(1, target * 3 // 4), target * 5 // 4 + 1), key=spread)


def unbalanced(counts: Mapping[str, int], repeats: Mapping[str, int], target: int) -> dict[str, float]:
    """Return the concepts whose images x repeats miss `target` by over 15 %, with the share: 0.6 is 60 % too many."""
    off = {name: counts[name] * repeats[name] / target - 1 for name in counts}
    return {name: share for name, share in off.items() if abs(share) > TOLERANCE + 1e-9}


def _repeats(count: int, target: int) -> int:
    down = max(1, target // count)
    near = abs(count * down - target) <= TOLERANCE * target
    up_is_near = abs(count * (down + 1) - target) <= TOLERANCE * target
    return down + 1 if not near and up_is_near else down
