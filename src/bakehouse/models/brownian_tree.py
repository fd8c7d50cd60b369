"""A Brownian path that does not depend on the order of its queries: the noise of A1111's SDE samplers.

The numbers are those of torchsde's `BrownianTree` (Li et al. 2020, arXiv:2001.01328, section 4) with the settings of
k-diffusion, for the same seed, so that images can be made again without that package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_DIGITS = 6
"""Times are rounded to a millionth; halves are halved down to that."""
_POOL = 24
"""Words of entropy of numpy's `SeedSequence`."""

Randn = Callable[[int], Tensor]
"""Unit noise of a seed."""


@dataclass(frozen=True)
class _Interval:
    """An interval of the tree and the path's increment over it."""

    start: float
    end: float
    w: Tensor
    key: int = 0
    """Its place among the intervals of its depth, which seeds the noise of its middle."""
    depth: int = 0


class BrownianTree:
    """One image's path over [start, end]. Nothing is kept: each answer is worked out from the whole interval down."""

    def __init__(self, entropy: int, start: float, end: float, randn: Randn) -> None:
        """Draw the increment over the whole interval; all within follows from `entropy`, the image's seed."""
        self._entropy = entropy
        self._randn = randn
        w = randn(self._seed()) * math.sqrt(end - start)
        self._whole = _Interval(round(start, _DIGITS), round(end, _DIGITS), w)

    def increment(self, start: float, end: float) -> Tensor:
        """Return W(end) - W(start) for start < end; times outside the path's are moved to its ends."""
        whole = self._whole
        ta, tb = (min(max(round(t, _DIGITS), whole.start), whole.end) for t in (start, end))
        total = torch.zeros_like(whole.w)
        for w in self._increments(whole, ta, tb) if ta < tb else ():
            total = total + w
        return total

    def _increments(self, interval: _Interval, start: float, end: float) -> Iterator[Tensor]:
        """Yield the increments of the intervals that make up [start, end], from left to right."""
        if (start, end) == (interval.start, interval.end):
            yield interval.w
            return
        left, right = self._halves(interval)
        if start < left.end:
            yield from self._increments(left, start, min(end, left.end))
        if end > left.end:
            yield from self._increments(right, max(start, left.end), end)

    def _halves(self, interval: _Interval) -> tuple[_Interval, _Interval]:
        """Draw the path's value in the middle, given both ends: a Brownian bridge."""
        start, end = interval.start, interval.end
        middle = round(0.5 * (start + end), _DIGITS)
        deviation = math.sqrt((middle - start) * (end - middle) / (end - start))
        noise = self._randn(self._seed(interval.key, interval.depth))
        w = interval.w * ((middle - start) / (end - start)) + deviation * noise
        return (
            _Interval(start, middle, w, 2 * interval.key, interval.depth + 1),
            _Interval(middle, end, interval.w - w, 2 * interval.key + 1, interval.depth + 1),
        )

    def _seed(self, *spawn_key: int) -> int:
        sequence = np.random.SeedSequence(entropy=self._entropy, spawn_key=spawn_key, pool_size=_POOL)
        return int(sequence.generate_state(1)[0])
