"""Time and correctness of finding duplicates, decoding included: `python -m benchmarks.dedupe`.

Makes images of 512 pixels (half JPEG, half PNG): shaded shapes over noise of several octaves, every tenth one a
re-save of the one before it, every twentieth a variant with something painted over, every twentieth a crop. Then looks
at all of them as `bakehouse dataset dedupe` does.

`--composition` and `--recoloured` measure the hardest sets instead: drawings of one composition, whose hashes are near
and of which no two are the same, and plain drawings of one shape in other colours, all variants of each
other. They say how the time grows from a quarter of `--images` to all of them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from bakehouse.core.events import Event, Progress, result_of
from bakehouse.curation.dedupe import Dedupe
from bakehouse.data import ImageRecord, scan

SIDE = 512
KINDS = {9: "copy", 19: "copy", 5: "variant", 15: "crop"}
"""What some of every twenty images are made of: a copy of the one before."""


def draw_scene(seed: int) -> Image.Image:
    """Draw a different scene for each seed."""
    rng = np.random.default_rng(seed)
    layers = [rng.normal(0, 50 / (k + 1), (2 ** (k + 2), 2 ** (k + 2), 3)) for k in range(5)]
    total = np.full((SIDE, SIDE, 3), 128.0, np.float32)
    for layer in layers:
        for c in range(3):
            grown = Image.fromarray(layer[..., c].astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            total[..., c] += np.asarray(grown)
    image = Image.fromarray(total.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        (x, y), (rx, ry) = rng.uniform(0, SIDE, 2), rng.uniform(10, 110, 2)
        draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=tuple(rng.integers(0, 255, 3).tolist()))
    return image


def write(number: int, folder: Path) -> None:
    """Write image `number`: a scene of its own, or a copy made of the one before it."""
    kind = KINDS.get(number % 20, "")
    image = draw_scene(number - 1 if kind else number)
    name = folder / f"{number:05}{'-' * bool(kind)}{kind}.{'jpg' if number % 2 else 'png'}"
    if kind == "variant":
        ImageDraw.Draw(image).ellipse((230, 200, 280, 232), fill=(150, 20, 40))
    if kind == "crop":
        image = image.crop((40, 30, 420, 400))
    if kind == "copy":
        image = image.resize((400, 400), Image.Resampling.LANCZOS)
    if number % 2:
        image.save(name, quality=60 if kind else 90)
    else:
        image.save(name, compress_level=4)


def drawing(number: int, folder: Path) -> None:
    """Draw a figure of 256 pixels: the same shapes in other colours, and one detail of its own."""
    rng = np.random.default_rng(number)
    colours = iter([tuple(colour) for colour in rng.integers(0, 256, (12, 3)).tolist()])
    image = Image.new("RGB", (256, 256), tuple(rng.integers(150, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 190, 256, 256), fill=next(colours))
    for box in ((70, 25, 186, 200), (55, 150, 201, 320), (80, 180, 176, 190), (80, 205, 176, 215), (85, 50, 171, 160)):
        draw.ellipse(box, fill=next(colours))
    draw.pieslice((80, 30, 176, 130), 180, 360, fill=next(colours))
    eyes = next(colours)
    for x in (108, 148):
        draw.ellipse((x - 9, 92, x + 9, 108), fill=eyes)
    draw.ellipse((116, 130, 140, 138 + int(rng.integers(0, 10))), fill=next(colours))
    x, y, r = int(rng.choice([30, 225])), int(rng.integers(40, 180)), int(rng.integers(10, 28))
    draw.ellipse((x - r, y - r, x + r, y + r), fill=next(colours))
    image.save(folder / f"{number:05}.png")


def recolored(number: int, folder: Path) -> None:
    """Draw one flat shape of 256 pixels in two random colours."""
    ground, fill = (tuple(c) for c in np.random.default_rng(number).integers(0, 256, (2, 3)).tolist())
    image = Image.new("RGB", (256, 256), ground)
    ImageDraw.Draw(image).ellipse((60, 40, 200, 220), fill=fill)
    image.save(folder / f"{number:05}.png")


def growth(images: int, draw: Callable[[int, Path], None], what: str) -> None:
    """Print processor time for a quarter of the drawings and for all, and their ratio."""
    seconds = []
    for count in (images // 4, images):
        with tempfile.TemporaryDirectory() as temporary:
            for number in range(count):
                draw(number, Path(temporary))
            start = time.process_time()
            measure(Path(temporary))
            seconds.append(time.process_time() - start)
    print(f"{images // 4} to {images} {what}: {seconds[1] / seconds[0]:.1f} times the time")


def main() -> None:
    """Make the images, find the duplicates, print seconds and verdicts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dedupe", description="Time to find duplicates.")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--folder", type=Path, help="folder of the images, made if absent; default: a temporary one")
    parser.add_argument("--composition", action="store_true", help="drawings of one composition: how the time grows")
    parser.add_argument("--recoloured", action="store_true", help="one shape in many colours: how the time grows")
    options = parser.parse_args()
    if options.composition:
        growth(options.images, drawing, "drawings of one composition")
        return
    if options.recoloured:
        growth(options.images, recolored, "drawings of one shape in other colours")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "set"
        if not folder.is_dir():
            folder.mkdir(parents=True)
            with ProcessPoolExecutor() as pool:
                list(pool.map(write, range(options.images), repeat(folder), chunksize=50))
        measure(folder)


class Clock:
    """Wall and processor seconds since the last reading."""

    def __init__(self) -> None:
        self.wall, self.cores = time.perf_counter(), time.process_time()

    def lap(self) -> tuple[str, str]:
        """Return both as table cells, and restart."""
        before = self.wall, self.cores
        self.wall, self.cores = time.perf_counter(), time.process_time()
        return f"{self.wall - before[0]:.1f}", f"{self.cores - before[1]:.1f}"


def measure(folder: Path) -> None:
    """Find the duplicates of a folder and print the times."""
    table = Table("step", "seconds", "of all cores", box=None, pad_edge=False)
    whole, clock = Clock(), Clock()
    images = scan(folder, whole=False)
    table.add_row("scan: headers, sha256", *clock.lap())

    def see(event: Event) -> None:
        if isinstance(event, Progress) and event.done == event.total:
            table.add_row(f"{event.what}: {event.total}", *clock.lap())

    findings = result_of(Dedupe(text="off").find(images), see)
    table.add_row(f"all, {len(images)} images", *whole.lap())
    Console().print(table)
    planned = Counter(kind for r in images if (kind := r.path.stem.partition("-")[2]))
    right = Counter(kind for f in findings for kind in map(kind_of, f.others) if f.kind == VERDICTS.get(kind))
    wrong = sum(f.dropped and kind_of(f.other) != "copy" for f in findings)
    for kind, count in planned.items():
        print(f"{kind}: {right[kind]} of {count} found")
    print(f"dropped although not a copy: {wrong}")


VERDICTS = {"copy": "duplicate", "variant": "variant", "crop": "near"}


def kind_of(record: ImageRecord) -> str:
    """Return what an image was made as."""
    return record.path.stem.partition("-")[2]


if __name__ == "__main__":
    main()
