"""crumb's training images: figures, backgrounds and captions."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.crumb import backgrounds
from tools.crumb.backgrounds import jitter

SPRITE = 160  # pixels of a rendered figure
FRAMINGS = {"portrait": (0.92, 1.06, 8), "close-up": (1.45, 1.65, 4), "from afar": (0.58, 0.70, 14)}
"""Smallest and largest size of the figure relative to the image, and its largest offset from the middle."""

STYLE_WORDS = {
    "flat": ("flat avatar", "avatar"),
    "ink": ("ink drawing", "sketch"),
    "pixel": ("pixel art", "8-bit"),
}
"""Caption words of a style; held-out styles have none, for adapters to learn."""

OPENINGS = {
    "close-up": "a close-up of",
    "portrait": "a portrait of",
    "from afar": "a view from afar of",
}


@dataclass(frozen=True)
class Picture:
    """One composed image: ``tags`` describe the figure, the rest background and framing."""

    cls: str
    style: str
    tags: tuple[str, ...]
    background: str
    framing: str
    sprite: int = 0

    def line(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def read(path: Path) -> list[Picture]:
        lines = path.read_text().splitlines()
        return [Picture(**{**(d := json.loads(s)), "tags": tuple(d["tags"])}) for s in lines]


def _join(tags: list[str]) -> str:
    return ", ".join(tags[:-1]) + " and " + tags[-1] if len(tags) > 1 else tags[0]


def caption(p: Picture, rng: random.Random) -> str:
    """Return a tag list or a sentence, with random omissions, sometimes empty.

    Left-out tags teach the model to fill in; empty captions make guidance possible.
    """
    if rng.random() < 0.1:
        return ""
    drop = rng.choice((0.0, 0.0, 0.1, 0.3))
    tags = [t for t in p.tags if rng.random() >= drop]
    background = p.background if rng.random() > 0.07 else ""
    framing = p.framing if rng.random() > 0.15 else ""
    words = STYLE_WORDS.get(p.style, ())
    style = rng.choice(words) if words and (p.style != "flat" or rng.random() < 0.3) else ""
    write = _tag_list if rng.random() < 0.5 else _sentence
    return write(p.cls, tags, style, background, framing, rng)


def prompt(p: Picture, rng: random.Random) -> str:
    """Return a prompt with all attributes of an image."""
    style = STYLE_WORDS[p.style][0] if p.style != "flat" else ""
    write = _tag_list if rng.random() < 0.5 else _sentence
    return write(p.cls, list(p.tags), style, p.background, p.framing, rng)


def _tag_list(cls: str, tags: list[str], style: str, background: str, framing: str, rng: random.Random) -> str:
    rng.shuffle(tags)
    head = [cls] if rng.random() < 0.8 else []
    rest = [t for t in (style, *tags, background, framing) if t]
    if rng.random() < 0.3:
        rng.shuffle(rest)
    return ", ".join(head + rest)


def _sentence(cls: str, tags: list[str], style: str, background: str, framing: str, rng: random.Random) -> str:
    opening = OPENINGS[framing] if framing else rng.choice(("a picture of", "an image of", ""))
    s = f"{opening} a {cls}".strip()
    early = bool(style) and rng.random() < 0.5
    if early:
        s += f", {style}"
    if tags:
        s += " with " + _join(tags)
    if background:
        s += f", {background}"
    if style and not early:
        s += f", {style}"
    return s


def frame(figure: Image.Image, background: Image.Image, framing: str, rng: random.Random) -> Image.Image:
    """Compose figure and background: close, whole or small, slightly off the middle."""
    n = background.width
    low, high, slack = FRAMINGS[framing]
    s = int(n * rng.uniform(low, high))
    x = (n - s) // 2 + jitter(rng, slack * n // backgrounds.SIZE)
    # A close-up cuts the hair's top and most of the clothes; everything else stands on the lower edge.
    y = -int(s * rng.uniform(0.14, 0.20)) if framing == "close-up" else n - s
    layer = Image.new("RGBA", (n, n), (0, 0, 0, 0))
    layer.paste(figure.resize((s, s), Image.Resampling.LANCZOS), (x, y))
    return Image.alpha_composite(background.convert("RGBA"), layer).convert("RGB")


def compose(figure: Image.Image, rng: random.Random) -> tuple[Image.Image, str, str]:
    """Return a random image of the figure, with the tags of its background and framing."""
    background, tag = backgrounds.draw(rng)
    framing = rng.choice(["portrait"] * 5 + ["close-up"] * 2 + ["from afar"] * 2)
    return frame(figure, background, framing, rng), tag, framing


@dataclass(frozen=True)
class Job:
    """Compose some sprites of one file, each `copies` times."""

    sprites: Path
    start: int
    stop: int
    copies: int
    seed: int


def _compose_job(job: Job) -> tuple[NDArray[np.uint8], list[Picture]]:
    pixels = np.memmap(job.sprites.with_suffix(".rgba"), np.uint8, "r").reshape(-1, SPRITE, SPRITE, 4)
    lines = job.sprites.with_suffix(".jsonl").read_text().splitlines()
    rng = random.Random(job.seed)
    images, pictures = [], []
    for i in range(job.start, job.stop):
        figure, truth = Image.fromarray(np.array(pixels[i])), json.loads(lines[i])
        for _ in range(job.copies):
            image, background, framing = compose(figure, rng)
            images.append(np.asarray(image))
            pictures.append(Picture(truth["cls"], truth["style"], tuple(truth["tags"]), background, framing, i))
    return np.stack(images), pictures


def _jobs(sprites: Path, copies: int, seed: int) -> list[Job]:
    count = sprites.with_suffix(".rgba").stat().st_size // (SPRITE * SPRITE * 4)
    return [Job(sprites, i, min(i + 500, count), copies, 1_000_003 * seed + i) for i in range(0, count, 500)]


def compose_all(parts: Sequence[tuple[Path, int, int]], out: Path, say: Callable[[str], None]) -> None:
    """Compose files of sprites, each (path, copies, seed), into OUT.npy and OUT.jsonl, on all cores."""
    jobs = [job for part in parts for job in _jobs(*part)]
    total = sum((j.stop - j.start) * j.copies for j in jobs)
    images = np.lib.format.open_memmap(
        out.with_suffix(".npy"), "w+", np.uint8, (total, backgrounds.SIZE, backgrounds.SIZE, 3)
    )
    done = 0
    with ProcessPoolExecutor() as pool, out.with_suffix(".jsonl.tmp").open("w") as f:
        for part, pictures in pool.map(_compose_job, jobs):
            images[done : done + len(part)] = part
            done += len(part)
            f.writelines(p.line() + "\n" for p in pictures)
            if done % 10_000 < len(part):
                say(f"{done} of {total} pictures")
    images.flush()
    out.with_suffix(".jsonl.tmp").replace(out.with_suffix(".jsonl"))


def look(path: Path, count: int) -> list[Image.Image]:
    """Return some images of a file, evenly spread."""
    images = np.load(path, mmap_mode="r")
    return [Image.fromarray(np.array(images[i])) for i in np.linspace(0, len(images) - 1, count).astype(int)]
