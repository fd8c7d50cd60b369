"""Switching adapters on one base: `python -m benchmarks.adapter_switch`.

Opens crumb, writes LoRA files of rank 16 with random weights, and has the pipeline use one after the other, as the
server's worker does for requests of many served adapters. Prints the milliseconds of a switch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from bakehouse.adapters import LoRA, inject, metadata_for, save_adapter
from bakehouse.generation import Pipeline, resolve
from bakehouse.models.load import load_model


def write_adapters(folder: Path, count: int, rank: int) -> list[Path]:
    """Write adapters with random weights for crumb; returns their files."""
    model = load_model("crumb")
    paths = [folder / f"adapter-{number}.safetensors" for number in range(count)]
    for seed, path in enumerate(paths):
        spec = LoRA(rank=rank)
        adapter = inject(spec, model.trainable_modules())
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in adapter.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.01)
        save_adapter(adapter, path, metadata_for(spec, name=path.stem, base_model="crumb"))
        adapter.remove()
    return paths


def switch_milliseconds(paths: list[Path]) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each switch, and those of them that the processor worked; every adapter once."""
    sources = [resolve(path) for path in paths]
    taken, worked = [], []
    with Pipeline.open("crumb", device="cpu") as pipeline:
        for source in sources:
            began, work = time.perf_counter(), time.process_time()
            pipeline.use(source)
            taken.append(1000 * (time.perf_counter() - began))
            worked.append(1000 * (time.process_time() - work))
    return taken, worked


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=int, default=100)
    parser.add_argument("--rank", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken, worked = switch_milliseconds(write_adapters(Path(folder), options.adapters, options.rank))
    print(f"{'switch ms, median':20} {statistics.median(taken):10.1f}")
    print(f"{'switch ms, most':20} {max(taken):10.1f}")
    print(f"{'of it work, median':20} {statistics.median(worked):10.1f}")


if __name__ == "__main__":
    main()
