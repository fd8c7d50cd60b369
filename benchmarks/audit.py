"""Time of an audit of 1,000 images, against its limit of 60 s on two cores: `python -m benchmarks.audit`.

The images are drawn here: 512 to 1,024 pixels a side, half of them JPEG and half PNG, like no other one. Finders of
faces and text are left out: they are networks, and their time is theirs.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bakehouse.audit import AuditSpec, Detectors, collect_facts, run_checks

LIMIT_SECONDS = 60.0


def draw_scene(seed: int, width: int, height: int) -> Image.Image:
    """Draw shaded shapes over noise of several octaves: a different scene for each seed."""
    rng = np.random.default_rng(seed)
    total = np.full((height, width, 3), 128.0, np.float32)
    for octave in range(2, 8):
        grain = rng.normal(128, 90 / octave, (2**octave, 2**octave, 3)).clip(0, 255).astype(np.uint8)
        total += np.asarray(Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC), np.float32) - 128
    image = Image.fromarray(total.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        (x, y), (rx, ry) = rng.uniform(0, (width, height)), rng.uniform(10, 200, 2)
        draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=tuple(rng.integers(0, 255, 3).tolist()))
    return image


def draw(folder: Path, count: int) -> int:
    """Draw the dataset; return its size in bytes."""
    rng = np.random.default_rng(0)
    for n in range(count):
        width, height = (int(side) for side in rng.integers(512, 1025, 2))
        path = folder / f"{n:04d}.{'jpg' if n % 2 else 'png'}"
        if n % 2:
            draw_scene(n, width, height).save(path, quality=92)
        else:
            draw_scene(n, width, height).save(path, compress_level=1)
        path.with_suffix(".txt").write_text(f"zwx person, portrait, pose {n}, red hair, blue coat, smile\n")
    return sum(p.stat().st_size for p in folder.iterdir())


def main() -> None:
    """Draw the dataset, audit it and print the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = draw(folder, count)
        spec = AuditSpec()
        start, used = time.perf_counter(), time.process_time()
        facts = collect_facts(folder, spec, detectors=Detectors(), thumbnails=True)
        looked = time.perf_counter()
        report = run_checks(facts, spec)
        done, used = time.perf_counter(), time.process_time() - used
    seconds = (done - start) * 1000 / count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"{count} images, {size / 1e6:.0f} MB: reading {looked - start:.1f} s, checking {done - looked:.1f} s")
    print(f"{seconds:.1f} s for 1,000 images (limit {LIMIT_SECONDS:.0f} s), peak memory {peak:.0f} MB")
    print(f"{used * 1000 / count:.1f} s of processor time for 1,000 images: half of it on two idle cores")
    print(f"{len(report.findings)} findings, {len(report.passed)} checks passed")


if __name__ == "__main__":
    main()
