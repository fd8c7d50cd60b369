"""crumb's training images: one or two figures before a background, with captions of their true attributes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.crumb import backgrounds
from tools.crumb.backgrounds import jitter
from tools.crumb.words import CLOTHES, STYLE_WORDS, USUAL_STYLES

SPRITE = 160  # pixels of a rendered figure
BUSTS = frozenset({"person", "robot"})
"""Groups that stand on the lower edge of the image; all others are whole objects."""

BUST_SIZES = {"portrait": (0.92, 1.06, 8), "close-up": (1.45, 1.65, 4), "from afar": (0.58, 0.70, 14)}
OBJECT_SIZES = {"portrait": (0.62, 0.84, 12), "close-up": (1.12, 1.35, 6), "from afar": (0.34, 0.44, 26)}
"""Smallest and largest size of a figure relative to the image, and its largest offset from the middle in pixels.

`portrait` is the usual view; captions say the word of busts only.
"""

Box = tuple[int, int, int]
"""Left, top and side of a figure's square."""

SIDES = ("left", "right")
OPENINGS = {"close-up": "a close-up of", "portrait": "a portrait of", "from afar": "a view from afar of"}
PEOPLE = ("person", "person", "person", "person", "character", "figure", "woman", "man")
"""Words for a person. The drawings have no sex of their own, so that `woman` and `man` are said of all alike."""
ADJECTIVES = frozenset({"sad", "angry", "surprised", "serious", "winking", "crying", "screaming"})
"""Tags that a sentence puts before the noun."""


@dataclass(frozen=True)
class Figure:
    """What is drawn: its class (`person`, `robot`, `dog`), group, style, and tags that are true of it."""

    cls: str
    group: str
    style: str
    tags: tuple[str, ...]

    @cached_property
    def noun(self) -> str:
        """The class, with its colour if a tag names it: `blue bus`; `dog face` if the face alone is drawn."""
        named = next((t for t in self.tags if t.endswith(f" {self.cls}")), self.cls)
        return f"{named} face" if "face" in self.tags else named

    def shown(self, framing: str) -> tuple[str, ...]:
        """Return the details that are in the image: a close-up of a person cuts off the clothes."""
        if framing != "close-up" or self.group not in BUSTS:
            return self.details
        return tuple(t for t in self.details if not t.endswith(CLOTHES))

    @cached_property
    def details(self) -> tuple[str, ...]:
        """The tags without the noun."""
        return tuple(t for t in self.tags if t != "face" and not t.endswith(f" {self.cls}"))


@dataclass(frozen=True)
class Picture:
    """One composed image: one figure, or two from left to right."""

    figures: tuple[Figure, ...]
    background: str
    framing: str
    boxes: tuple[Box, ...] = ()
    """Where each figure is, in pixels of an image of 128."""
    sprite: int = 0
    """Number of the first figure among its rendered ones; images of one figure are never split between tests."""

    def line(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def read(path: Path) -> list[Picture]:
        return [Picture.parse(json.loads(line)) for line in path.read_text().splitlines()]

    @staticmethod
    def parse(value: Mapping[str, object]) -> Picture:
        figures = tuple(Figure(**{**f, "tags": tuple(f["tags"])}) for f in value["figures"])  # type: ignore[attr-defined]
        boxes = tuple((int(x), int(y), int(side)) for x, y, side in value["boxes"])  # type: ignore[attr-defined]
        return Picture(figures, str(value["background"]), str(value["framing"]), boxes, int(value["sprite"]))  # type: ignore[call-overload]


# --- captions -------------------------------------------------------------------------------------------------------


def caption(p: Picture, rng: random.Random) -> str:
    """Return a tag list or a sentence, with random omissions, sometimes empty.

    Left-out tags teach the model to fill in; empty captions make guidance possible.
    """
    if rng.random() < 0.1:
        return ""
    drop = rng.choice((0.0, 0.0, 0.1, 0.3))
    keep = [tuple(t for t in f.shown(p.framing) if rng.random() >= drop) for f in p.figures]
    background = p.background if rng.random() > 0.07 else ""
    framing = p.framing if rng.random() > 0.15 else ""
    return _write(p, keep, _style(p, rng, 0.3, 0.92), background, framing, rng)


def prompt(p: Picture, rng: random.Random) -> str:
    """Return a prompt with all attributes of an image."""
    return _write(p, [f.shown(p.framing) for f in p.figures], _style(p, rng, 0.0, 1.0), p.background, p.framing, rng)


def _style(p: Picture, rng: random.Random, usual: float, other: float) -> str:
    """Return words of the style that the figures share; the usual styles are said with another probability."""
    style = p.figures[0].style
    if any(f.style != style for f in p.figures) or style not in STYLE_WORDS:
        return ""
    return rng.choice(STYLE_WORDS[style]) if rng.random() < (usual if style in USUAL_STYLES else other) else ""


def _write(
    p: Picture, details: Sequence[Sequence[str]], style: str, background: str, framing: str, rng: random.Random
) -> str:
    if len(p.figures) == 1 and p.figures[0].group not in BUSTS and framing == "portrait":
        framing = ""
    if len(p.figures) > 1:
        framing = ""
    write = _tag_list if rng.random() < 0.5 else _sentence
    return write(p.figures, details, style, background, framing, rng)


def _word(f: Figure, rng: random.Random) -> str:
    return rng.choice(PEOPLE) if f.cls == "person" else f.noun


def _tag_list(
    figures: Sequence[Figure],
    details: Sequence[Sequence[str]],
    style: str,
    background: str,
    framing: str,
    rng: random.Random,
) -> str:
    if len(figures) == 1:
        head = [_word(figures[0], rng)] if rng.random() < 0.85 or figures[0].group not in BUSTS else []
        rest = [t for t in (style, *rng.sample(list(details[0]), len(details[0])), background, framing) if t]
        if rng.random() < 0.3:
            rng.shuffle(rest)
        return ", ".join(head + rest)
    parts = [
        ", ".join([f"{_word(f, rng)} on the {side}", *rng.sample(list(tags), len(tags))])
        for f, tags, side in zip(figures, details, SIDES, strict=True)
    ]
    return ", ".join(t for t in (style, *parts, background) if t)


def _sentence(
    figures: Sequence[Figure],
    details: Sequence[Sequence[str]],
    style: str,
    background: str,
    framing: str,
    rng: random.Random,
) -> str:
    opening = OPENINGS[framing] if framing else rng.choice(("a picture of", "an image of", ""))
    places = [f" on the {side}" for side in SIDES] if len(figures) == 2 else [""]
    parts = [_phrase(_word(f, rng), tags, place, rng) for f, tags, place in zip(figures, details, places, strict=True)]
    said = f"{opening} {' and '.join(parts)}".strip()
    early = bool(style) and rng.random() < 0.5
    if early:
        said += f", {style}"
    if background:
        said += f", {background}"
    if style and not early:
        said += f", {style}"
    return said


def _phrase(noun: str, tags: Sequence[str], place: str, rng: random.Random) -> str:
    """Return a noun with its place and tags: `a sad person on the left with pink afro and tan skin`."""
    before = [t for t in tags if t in ADJECTIVES and rng.random() < 0.6][:1]
    after = [t for t in tags if t not in before]
    words = " ".join([*before, noun])
    article = "an" if words[0] in "aeiou" else "a"
    return f"{article} {words}{place}{' with ' + _join(after) if after else ''}"


def _join(tags: Sequence[str]) -> str:
    return ", ".join(tags[:-1]) + " and " + tags[-1] if len(tags) > 1 else tags[0]


# --- composition ------------------------------------------------------------------------------------------------------


def frame(
    figure: Image.Image, background: Image.Image, framing: str, group: str, rng: random.Random
) -> tuple[Image.Image, Box]:
    """Compose figure and background: close, whole or small, slightly off the middle; also return where it is."""
    n = background.width
    low, high, slack = (BUST_SIZES if group in BUSTS else OBJECT_SIZES)[framing]
    s = int(n * rng.uniform(low, high))
    x = (n - s) // 2 + jitter(rng, slack * n // backgrounds.SIZE)
    box = (x, _top(n, s, framing, group, rng), s)
    return _paste(background, [(figure, box)]), box


def _top(n: int, s: int, framing: str, group: str, rng: random.Random) -> int:
    if framing == "close-up":
        # A close-up cuts the hair's top and most of the clothes.
        return -int(s * rng.uniform(0.14, 0.20)) if group in BUSTS else (n - s) // 2 + jitter(rng, n // 20)
    if group in BUSTS:
        return n - s
    free = n - s
    return round(free * (rng.uniform(0.35, 0.6) if framing == "portrait" else rng.uniform(0.4, 0.9)))


def pair(
    left: tuple[Image.Image, str], right: tuple[Image.Image, str], background: Image.Image, rng: random.Random
) -> tuple[Image.Image, tuple[Box, ...]]:
    """Compose two figures, each (picture, group), side by side; a whole object beside a bust is smaller."""
    n = background.width
    mixed = (left[1] in BUSTS) != (right[1] in BUSTS)
    placed = []
    for (figure, group), middle in ((left, 0.27), (right, 0.73)):
        if group in BUSTS:
            s = int(n * (rng.uniform(0.66, 0.78) if mixed else rng.uniform(0.56, 0.66)))
            y = n - s
        else:
            s = int(n * (rng.uniform(0.36, 0.46) if mixed else rng.uniform(0.42, 0.52)))
            y = n - s - int(n * rng.uniform(0.02, 0.12 if mixed else 0.3))
        x = int(n * middle) - s // 2 + jitter(rng, n // 32)
        placed.append((figure, (x, y, s)))
    return _paste(background, placed), tuple(box for _, box in placed)


def _paste(background: Image.Image, placed: Sequence[tuple[Image.Image, Box]]) -> Image.Image:
    n = background.width
    image = background.convert("RGBA")
    for figure, (x, y, s) in placed:
        layer = Image.new("RGBA", (n, n), (0, 0, 0, 0))
        layer.paste(figure.resize((s, s), Image.Resampling.LANCZOS), (x, y))
        image = Image.alpha_composite(image, layer)
    return image.convert("RGB")


def compose(figure: Image.Image, group: str, rng: random.Random) -> tuple[Image.Image, Box, str, str]:
    """Return a random image of one figure, where the figure is, and the tags of its background and framing."""
    background, tag = backgrounds.draw(rng)
    framing = rng.choice(["portrait"] * 5 + ["close-up"] * 2 + ["from afar"] * 2)
    return *frame(figure, background, framing, group, rng), tag, framing


class Sprites:
    """A file of rendered figures: pictures [count, 160, 160, 4] and what they show."""

    def __init__(self, path: Path) -> None:
        self.pixels = np.memmap(path.with_suffix(".rgba"), np.uint8, "r").reshape(-1, SPRITE, SPRITE, 4)
        lines = path.with_suffix(".jsonl").read_text().splitlines()
        self.figures = [Figure(**{**(d := json.loads(s)), "tags": tuple(d["tags"])}) for s in lines]
        if len(self.figures) != len(self.pixels):
            raise ValueError(f"{path}: {len(self.pixels)} figures rendered, {len(self.figures)} described")

    def image(self, i: int) -> Image.Image:
        return Image.fromarray(np.array(self.pixels[i]))

    def __len__(self) -> int:
        return len(self.figures)


@dataclass(frozen=True)
class Job:
    """Compose figures of one file, each alone `copies` times; with probability `pairs` a second one stands beside."""

    sprites: Path
    beside: Path
    """File of the second figures."""
    start: int
    stop: int
    copies: int
    pairs: float
    seed: int


def _compose_job(job: Job) -> tuple[NDArray[np.uint8], list[Picture]]:
    sprites, beside = Sprites(job.sprites), Sprites(job.beside)
    rng = random.Random(job.seed)
    images, pictures = [], []
    for i in range(job.start, job.stop):
        for _ in range(job.copies):
            image, picture = (_pair_of if rng.random() < job.pairs else _single)(sprites, beside, i, rng)
            images.append(np.asarray(image))
            pictures.append(picture)
    return np.stack(images), pictures


def _single(sprites: Sprites, _: Sprites, i: int, rng: random.Random) -> tuple[Image.Image, Picture]:
    figure = sprites.figures[i]
    image, box, background, framing = compose(sprites.image(i), figure.group, rng)
    return image, Picture((figure,), background, framing, (box,), i)


def _pair_of(sprites: Sprites, beside: Sprites, i: int, rng: random.Random) -> tuple[Image.Image, Picture]:
    """Compose a figure with another of the same style half of the time, if a few tries find one."""
    k = rng.randrange(len(beside))
    if rng.random() < 0.5:
        tries = [rng.randrange(len(beside)) for _ in range(20)]
        k = next((t for t in tries if beside.figures[t].style == sprites.figures[i].style), k)
    members = [(sprites.figures[i], sprites.image(i)), (beside.figures[k], beside.image(k))]
    rng.shuffle(members)
    scene, background = backgrounds.draw(rng)
    (left, a), (right, b) = members
    image, boxes = pair((a, left.group), (b, right.group), scene, rng)
    return image, Picture((left, right), background, "from afar", boxes, i)


def compose_all(parts: Sequence[tuple[Path, Path, int, float, int]], out: Path, say: Callable[[str], None]) -> None:
    """Compose files of figures into OUT.npy and OUT.jsonl, on all cores.

    Args:
        parts: for each file (figures, figures to stand beside them, copies, share of pairs, seed).
        out: path without suffix.
        say: shows progress.
    """
    jobs = [
        Job(path, beside, i, min(i + 250, count), copies, pairs, 1_000_003 * seed + i)
        for path, beside, copies, pairs, seed in parts
        for count in [path.with_suffix(".rgba").stat().st_size // (SPRITE * SPRITE * 4)]
        for i in range(0, count, 250)
    ]
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
