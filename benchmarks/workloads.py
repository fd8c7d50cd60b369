"""Workloads of the training benchmark: network, batch and size, with the lists for a CPU and for a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from bakehouse.models.denoiser import Denoiser


@dataclass(frozen=True)
class Workload:
    """One row of a table: the same work for every case."""

    model: str
    batch: int
    side: int
    """Image side, in pixels."""
    rank: int = 16
    device: str = "cpu"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    warmup: int = 2
    steps: int = 20
    seconds: float = 60.0
    """No new step begins after this time; at least one is timed."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Recipe settings, for rows that only bakehouse can run (less memory, whole networks)."""
    about: str = ""
    """What `settings` mean, in a few words."""

    @property
    def title(self) -> str:
        """For a table: `sd15 512 px, batch 4`."""
        return f"{self.model} {self.side} px, batch {self.batch}" + (f", {self.about}" if self.about else "")


Case = Callable[[Workload, Denoiser, Path], Iterator[None]]
"""A generator that does one training step for each `next`; the folder is for its files."""

CPU = {
    "crumb": [Workload("crumb", 8, 128, warmup=4, steps=24)],
    "sd15": [Workload("sd15", 1, 256, warmup=1, steps=3)],
    "tiny": [Workload("tiny", 2, 64, warmup=1, steps=3)],
    "tiny-xl": [Workload("tiny-xl", 2, 64, warmup=1, steps=3)],
}
"""Workloads by model; the tiny ones are for testing the benchmarks."""

_LEAN = {"train.gradient_checkpointing": True, "model.quantize": "int8"}
DREAMBOOTH = {
    "adapter": {"kind": "full", "text": True},
    "optimizer.name": "adamw8bit",
    "train.gradient_checkpointing": True,
    "train.fused_backward": True,
    "train.max_grad_norm": 0.0,
}


def _gpu(model: str, batch: int, side: int, **more: Any) -> Workload:
    common: dict[str, Any] = {
        "rank": 32,
        "device": "cuda",
        "precision": "bf16",
        "warmup": 3,
        "steps": 40,
        "seconds": 6.0,
    }
    return Workload(model, batch, side, **common, **more)


CUDA = {
    "sd15": [_gpu("sd15", batch, 512) for batch in (1, 4, 8)],
    "sdxl": [_gpu("sdxl", batch, 1024) for batch in (1, 4, 8)],
}
LEAN = {
    "sd15": [
        _gpu("sd15", 1, 512, settings=_LEAN, about="int8, checkpointing"),
        _gpu("sd15", 1, 512, settings=DREAMBOOTH, about="DreamBooth, all weights"),
    ],
    "sdxl": [_gpu("sdxl", 1, 1024, settings=_LEAN, about="int8, checkpointing")],
}
"""Workloads with the least memory; only bakehouse can run them."""


def write_images(folder: Path, side: int) -> Path:
    """Write twelve images of noise into `folder/photos`; their content makes no difference to speed."""
    rng = np.random.default_rng(0)
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(photos / f"{i}.png")
    return photos
