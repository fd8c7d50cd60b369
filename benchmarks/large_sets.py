"""Memory and time of the plan for sets of many images: `python -m benchmarks.large_sets --images 10000 100000 1000000`.

Records of images are made up, as a scan would return them, so that what is measured is what each image costs the plan
and the order of an epoch. Encoded images are not part of it: `data.cache_gb` limits their memory. `--cache 20000`
measures writing and reading so many of them, in a file each and in shards.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.models.denoiser import Moments
from bakehouse.recipe import make_plan, recipe_for_folder
from bakehouse.training import latent_cache
from bakehouse.training.tensor_shards import TensorShards

SIZES = ((1024, 768), (768, 1024), (1024, 1024), (800, 1200))


def made_up(number: int) -> ImageRecord:
    """Return the record of an image that does not exist."""
    path = Path("set") / f"{number // 1000:04d}" / f"{number:07d}.jpg"
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    captions = (f"zwx person, place {number}, smiling",)
    return ImageRecord(path, *SIZES[number % 4], digest, captions, path.with_suffix(".txt"))


def resident() -> int:
    """Return the bytes of main memory that this process has."""
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])


def measure(count: int) -> dict[str, float]:
    """Plan a training on `count` images; return seconds, and bytes for each image."""
    settings = {"train.epochs": 1, "prior.source": "none"}
    examples = Path(str(resources.files("bakehouse"))) / "assets" / "examples"
    photos = min(path for path in examples.iterdir() if (path / "01.png").is_file())
    recipe = recipe_for_folder(photos, "zwx person", settings=settings)
    make_plan(recipe)  # imports and caches do not count
    before, began = resident(), time.monotonic()
    images = ImageSet(tuple(made_up(number) for number in range(count)))
    plan = make_plan(recipe, images)
    planned = time.monotonic()
    batches = plan.order.epoch(seed=1, epoch=0)
    assert sum(map(len, batches)) == count * plan.subject_images[0].repeats
    return {
        "plan": planned - began,
        "order": time.monotonic() - planned,
        "bytes": (resident() - before) / count,
    }


def measure_cache(count: int, folder: Path, *, in_shards: bool) -> dict[str, float]:
    """Write `count` encoded images of 512 x 512 pixels to a folder, and read a thousand of them in a random order."""
    shards = TensorShards(folder / "shards")
    moments = {"mean": torch.randn(1, 4, 64, 64), "std": torch.rand(1, 4, 64, 64)}
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
    path = {key: folder / key[:2] / f"{key}.safetensors" for key in keys}
    began = time.monotonic()
    for key in keys:
        if in_shards:
            shards.put(key, {name: tensor.clone() for name, tensor in moments.items()})
        else:
            latent_cache._write(path[key], Moments(**moments))
    shards.flush()
    written = time.monotonic()
    again = TensorShards(folder / "shards")
    found = sum(key in again for key in keys) if in_shards else sum(path[key].is_file() for key in keys)
    assert found == count
    opened = time.monotonic()
    chosen = random.Random(1).sample(keys, 1000)
    for key in chosen:
        assert again.get(key) if in_shards else latent_cache._read(path[key])
    return {
        "files": sum(p.is_file() for p in folder.rglob("*")),
        "write": (written - began) / count,
        "open": opened - written,
        "read": (time.monotonic() - opened) / len(chosen),
    }


def print_cache(count: int) -> None:
    """Print both forms of the cache."""
    table = Table("form", "files", "write one, ms", "find all, s", "read one, ms")
    for in_shards in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            found = measure_cache(count, Path(folder), in_shards=in_shards)
        times = f"{1e3 * found['write']:.2f}", f"{found['open']:.2f}", f"{1e3 * found['read']:.2f}"
        table.add_row("shards" if in_shards else "a file each", f"{found['files']:,.0f}", *times)
    Console().print(table)


def main() -> None:
    """Measure each size in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=int, help="measure a cache of so many encoded images instead")
    options = parser.parse_args()
    if options.cache:
        print_cache(options.cache)
        return
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    table = Table("images", "plan, s", "order of an epoch, s", "kB for each image", "GB in all")
    for count in options.images:
        command = [sys.executable, "-m", "benchmarks.large_sets", "--one", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        size = found["bytes"]
        seconds = f"{found['plan']:.1f}", f"{found['order']:.2f}"
        table.add_row(f"{count:,}", *seconds, f"{size / 1e3:.2f}", f"{size * count / 1e9:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
