"""Weights in the middle of training, small enough to keep: to go on from them elsewhere, not to draw with.

Matrices are rounded to 63 levels for each row, an error of about 3 %, which some hundred steps of training repair; what
is left is compressed to a fifth of single precision's size, or less.
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

LEVELS = 31
"""Largest whole number of a rounded weight, on either side of 0."""
SCALE = ".scale"


def write(weights: Mapping[str, Tensor], path: Path) -> None:
    parts: dict[str, Tensor] = {}
    for name, value in weights.items():
        if not value.is_floating_point() or value.ndim < 2:
            parts[name] = value.contiguous()
            continue
        scale = value.flatten(1).abs().amax(1).clamp(min=1e-12) / LEVELS
        parts[name + SCALE] = scale
        parts[name] = (value / scale.view(-1, *[1] * (value.ndim - 1))).round().to(torch.int8).contiguous()
    path.write_bytes(lzma.compress(save(parts), preset=9))


def read(path: Path) -> dict[str, Tensor]:
    parts = load(lzma.decompress(path.read_bytes()))
    return {
        name: value.float() * parts[name + SCALE].view(-1, *[1] * (value.ndim - 1)) if name + SCALE in parts else value
        for name, value in parts.items()
        if not name.endswith(SCALE)
    }
