"""Cases in a process of their own: `python -m benchmarks.one WHO` reads works as JSON lines and answers each in a line.

On a GPU the peak can be reset between works; on a CPU it is the process's, so there each work gets its own process.
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

from bakehouse.models.dtypes import DTYPES
from bakehouse.training.loop import peak_memory
from bakehouse.training.out_of_memory import is_out_of_memory
from benchmarks import bare, ours, peer
from benchmarks.ceiling import matmul_flops, step_flops
from benchmarks.models import make_model
from benchmarks.work import Case, Work

CASES: dict[str, Case] = {"bare": bare.steps, "ours": ours.steps, "peer": peer.steps}


def measure(who: str, work: Work) -> dict[str, Any]:
    """Seconds a step and peak memory of one case; or the reason why there are none."""
    cuda = work.device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    full = work.settings.get("adapter", {}).get("kind") == "full"
    dtype = torch.float32 if full else DTYPES[work.precision]
    try:
        model = make_model(work.model, work.device, dtype)
        counted = {"flops": step_flops(work, model)} if who == "bare" else {}
        with tempfile.TemporaryDirectory() as folder:
            seconds = list(timed(CASES[who](work, model, Path(folder)), work))
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


def timed(steps: Iterator[None], work: Work) -> Iterator[float]:
    """Seconds of each step behind the warm-up, as the device has finished them."""
    cuda = work.device.startswith("cuda")
    if cuda:
        # What making the model needed is not what a step needs.
        next(steps)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    end = time.perf_counter() + work.seconds
    for number in range(work.warmup + work.steps):
        began = time.perf_counter()
        next(steps)
        if cuda:
            torch.cuda.synchronize()
        if number >= work.warmup:
            yield time.perf_counter() - began
            if time.perf_counter() > end:
                return


def main(who: str) -> None:
    """Reads works, prints what was measured."""
    for line in sys.stdin:
        work = Work(**json.loads(line))
        found = matmul_flops(work.device, work.precision) if who == "ceiling" else measure(who, work)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
