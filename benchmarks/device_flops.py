"""Operations a second of a device at its best (large matrix products), and operations of one training step."""

from __future__ import annotations

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from bakehouse.models.denoiser import Denoiser
from benchmarks.bare_loop import step_of
from benchmarks.workloads import Workload

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def matmul_flops(device: str, precision: str, *, seconds: float = 0.5) -> float:
    """Measure floating-point operations a second: the best of many matrix products; a multiply-add counts as two."""
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


def step_flops(workload: Workload, model: Denoiser) -> float:
    """Count the operations of one step of the bare minimum: what any trainer must compute."""
    step, adapter = step_of(workload, model)
    with FlopCounterMode(display=False) as counter:
        step()
    adapter.remove()
    return float(counter.get_total_flops())
