"""Time of truncated SVD on matrices of SDXL's sizes, against full decompositions: `python -m benchmarks.svd`.

In each round every method decomposes the same matrix once; a ratio is the median of the rounds' ratios to ours, so
above 1 is slower than ours. "as peers" is the call of LyCORIS' extraction, which also computes the square bases that
it then cuts off.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bakehouse.weights.svd import decompose

SHAPES = ((1280, 1280), (1280, 2048), (5120, 640), (640, 5120), (10240, 1280))
RANKS = (32, 128)
_DECAY = 0.7
"""Singular values fall like k^-0.7: between the white noise of nothing learned and the steep fall of a merged LoRA."""


def change(outs: int, ins: int) -> Tensor:
    """Make a matrix like a fine-tune's ΔW: rotated rows and columns, slowly falling singular values."""
    generator = torch.Generator().manual_seed(outs + ins)
    k = min(outs, ins)
    U = torch.linalg.qr(torch.randn(outs, k, generator=generator)).Q
    V = torch.linalg.qr(torch.randn(ins, k, generator=generator)).Q
    values = torch.arange(1, k + 1).float().pow(-_DECAY)
    changed: Tensor = (U * values) @ V.T
    return changed


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(A: Tensor, rank: int, rounds: int) -> dict[str, float]:
    """Return medians of seconds and ratios, and both errors as shares of the norm."""
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: decompose(A, rank),
        "full": lambda: torch.linalg.svd(A, full_matrices=False),
        "peers": lambda: torch.linalg.svd(A),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            seconds[name].append(timed(work))
    ratios = {
        name: statistics.median(s / o for s, o in zip(seconds[name], seconds["ours"], strict=True)) for name in ways
    }
    found, best = decompose(A, rank), decompose(A, rank, method="full")
    return {
        **{f"{name}_s": statistics.median(values) for name, values in seconds.items()},
        "x_full": ratios["full"],
        "x_peers": ratios["peers"],
        "error": float((A - found.product()).norm() / A.norm()),
        "best_error": float((A - best.product()).norm() / A.norm()),
    }


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = [
        {"shape": s, "rank": r, **measure(change(*s), r, options.rounds)} for s in SHAPES for r in RANKS
    ]
    if options.json:
        print(json.dumps({"svd": rows, "threads": torch.get_num_threads()}))
        return
    title = f"{torch.get_num_threads()} threads, fp32, {options.rounds} rounds"
    table = Table(
        "matrix", "rank", "ours s", "full s", "times", "as peers s", "times", "error", "smallest", title=title
    )
    for row in rows:
        table.add_row(
            "{} x {}".format(*row["shape"]), str(row["rank"]), f"{row['ours_s']:.3f}", f"{row['full_s']:.3f}",
            f"{row['x_full']:.1f}", f"{row['peers_s']:.3f}", f"{row['x_peers']:.1f}",
            f"{row['error']:.4f}", f"{row['best_error']:.4f}",
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
