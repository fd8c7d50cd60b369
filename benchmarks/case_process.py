"""One benchmark case in a process of its own: `python -m benchmarks.case_process CASE`.

Reads workloads as JSON lines and answers each with one line.

On a GPU the peak can be reset between workloads; on a CPU it belongs to the process, so there each
workload gets its own process.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bakehouse.dtypes import DTYPES
from bakehouse.training.loop import peak_memory
from bakehouse.training.out_of_memory import is_out_of_memory
from benchmarks import bakehouse_loop, bare_loop, diffusers_peft_loop
from benchmarks.device_flops import matmul_flops, step_flops
from benchmarks.models import make_model
from benchmarks.workloads import Case, Workload

CASES: dict[str, Case] = {
    "bare": bare_loop.steps,
    "bakehouse": bakehouse_loop.steps,
    "diffusers_peft": diffusers_peft_loop.steps,
}


def measure(who: str, workload: Workload) -> dict[str, Any]:
    """Return seconds a step and peak memory of one case, or the reason why there are none."""
    cuda = workload.device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    full = workload.settings.get("adapter", {}).get("kind") == "full"
    dtype = torch.float32 if full else DTYPES[workload.precision]
    try:
        model = make_model(workload.model, workload.device, dtype)
        counted = {"flops": step_flops(workload, model)} if who == "bare" else {}
        with tempfile.TemporaryDirectory() as folder:
            seconds = list(timed(CASES[who](workload, model, Path(folder)), workload))
        middle = sorted(seconds)[len(seconds) // 2]
        return {"seconds": middle, "steps": len(seconds), "peak_bytes": peak_memory(), **counted}
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        return {"error": "out of memory"}
    finally:
        gc.collect()
        if cuda:
            torch.cuda.empty_cache()


def timed(steps: Iterator[None], workload: Workload) -> Iterator[float]:
    """Yield the seconds of each step after the warm-up, measured when the device has finished."""
    cuda = workload.device.startswith("cuda")
    if cuda:
        # What making the model needed is not what a step needs.
        next(steps)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    end = time.perf_counter() + workload.seconds
    for number in range(workload.warmup + workload.steps):
        began = time.perf_counter()
        next(steps)
        if cuda:
            torch.cuda.synchronize()
        if number >= workload.warmup:
            yield time.perf_counter() - began
            if time.perf_counter() > end:
                return


def main(who: str) -> None:
    """Reads workloads, prints what was measured."""
    for line in sys.stdin:
        workload = Workload(**json.loads(line))
        found = matmul_flops(workload.device, workload.precision) if who == "ceiling" else measure(who, workload)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
