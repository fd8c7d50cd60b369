"""How long a grid takes beside its images alone: `python -m benchmarks.grid`.

A grid of 200 cells on crumb (ten seeds, ten values of guidance, two of the sampler) is made, and then again with
nothing left to generate. The difference to `Pipeline.generate` on the same 200 requests is what a grid costs: keys,
files, sheet and page.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bakehouse.core.events import result_of
from bakehouse.generation import ImageRequest, Pipeline, make_grid

SAMPLERS = ("Euler a", "DPM++ 2M")
PROMPT = "a person"


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(pipeline: Pipeline, folder: Path, seeds: int, guidances: int, steps: int) -> dict[str, float]:
    """Return seconds by what was timed, for seeds x guidances x two samplers."""
    request = ImageRequest(prompt=PROMPT, seed=1, steps=steps)
    axes = (f"seed=1-{seeds}", f"guidance=1-8 [{guidances}]")
    z = "sampler=" + ",".join(SAMPLERS)

    def grid() -> object:
        return result_of(make_grid(pipeline, *axes, request, folder, z=z))

    requests = [
        replace(request, seed=1 + i, guidance=1 + 7 * j / max(1, guidances - 1), sampler=sampler)
        for sampler in SAMPLERS
        for j in range(guidances)
        for i in range(seeds)
    ]
    return {
        "the images alone": timed(lambda: list(pipeline.generate(requests))),
        "the grid": timed(grid),
        "the grid again, nothing missing": timed(grid),
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--guidances", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    cells = args.seeds * args.guidances * len(SAMPLERS)
    with tempfile.TemporaryDirectory() as folder, Pipeline.open("crumb") as pipeline:
        found = measure(pipeline, Path(folder), args.seeds, args.guidances, args.steps)
    table = Table("", "seconds", "seconds per cell", title=f"{cells} cells on crumb, {args.steps} steps")
    for what, seconds in found.items():
        table.add_row(what, f"{seconds:.1f}", f"{seconds / cells:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
