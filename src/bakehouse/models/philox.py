"""CUDA's normal random numbers, made on any device: what A1111 calls `RNG: NV`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_TO_UNIT = 2.0**-32
_TO_CIRCLE = float(np.float32(2 * math.pi)) * 2.0**-32
"""CUDA's constants are float32; the products are rounded at the end."""

_Words = NDArray[np.uint32]


def philox4x32(counter: Sequence[_Words], seed: int) -> list[_Words]:
    """Return four random words for each counter: Philox4x32-10, Salmon et al. 2011, "Parallel random numbers".

    Args:
        counter: four arrays of 32-bit words, the lowest first.
        seed: 64 bits, the key.
    """
    c0, c1, c2, c3 = counter
    for i in range(_ROUNDS):
        k0, k1 = (np.uint32(((seed >> shift) + i * weyl) % 2**32) for shift, weyl in zip((0, 32), _WEYL, strict=True))
        high0, low0 = _product(c0, _MULTIPLIERS[0])
        high1, low1 = _product(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return [c0, c1, c2, c3]


def _product(words: _Words, multiplier: np.uint64) -> tuple[_Words, _Words]:
    product = words.astype(np.uint64) * multiplier
    return (product >> np.uint64(32)).astype(np.uint32), product.astype(np.uint32)


class PhiloxGenerator:
    """The numbers that `torch.randn(..., device="cuda")` gives for a seed, as long as a tensor fits into one launch.

    Each number takes one counter, and each call of `randn` the next offset; Box-Muller makes them normal.
    """

    def __init__(self, seed: int) -> None:
        """Start at offset 0 of a seed of 64 bits."""
        self._seed = seed % 2**64
        self._offset = 0

    def randn(self, shape: Sequence[int]) -> Tensor:
        """Return unit noise of a shape, float32 on the CPU."""
        index = np.arange(math.prod(shape), dtype=np.uint32)
        zero = np.zeros_like(index)
        u, v, _, _ = philox4x32([np.full_like(index, self._offset), zero, index, zero], self._seed)
        self._offset += 1
        radius = np.sqrt(-2 * np.log(u.astype(np.float64) * _TO_UNIT + _TO_UNIT / 2))
        normal = radius * np.sin(v.astype(np.float64) * _TO_CIRCLE + _TO_CIRCLE / 2)
        return torch.from_numpy(normal.astype(np.float32)).reshape(tuple(shape))
