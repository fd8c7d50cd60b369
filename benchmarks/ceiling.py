"""The ceiling: what this device does at best, measured as the product of two large matrices."""

from __future__ import annotations

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from bakehouse.models.denoiser import Denoiser
from benchmarks.bare import step_of
from benchmarks.work import Work

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def matmul_flops(device: str, precision: str, *, seconds: float = 0.5) -> float:
    """Floating-point operations a second of the best of many products; a multiply-add counts two."""
    size = 8192 if device.startswith("cuda") else 1024
    a, b = (torch.randn(size, size, device=device).to(_DTYPES[precision]) for _ in range(2))
    out = torch.empty_like(a)
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        began = time.perf_counter()
        torch.mm(a, b, out=out)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def step_flops(work: Work, model: Denoiser) -> float:
    """Operations of one step of the bare minimum: what must be done, whoever does it."""
    step, adapter = step_of(work, model)
    with FlopCounterMode(display=False) as counter:
        step()
    adapter.remove()
    return float(counter.get_total_flops())
