"""A world of squares: a figure of one colour before a background of another, a scorer, a generator."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bakehouse.core.events import Saved, Step
from bakehouse.core.files import sha256_bytes
from bakehouse.core.run_folder import Run
from bakehouse.evaluation.own_marks import Patches

COLORS = {
    "red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220), "yellow": (240, 220, 60),
    "white": (250, 250, 250), "black": (10, 10, 10), "violet": (150, 60, 200), "orange": (250, 140, 40),
}  # fmt: skip
PLACES = {"beach": "yellow", "snow": "white", "forest": "green", "night": "black"}
HERO = ("violet", "orange")
"""Body and hat of the subject, which the base never generates."""


def square(body: str, hat: str, background: str, size: int = 32, noise: int = 0) -> Image.Image:
    image = Image.new("RGB", (size, size), COLORS[background])
    image.paste(COLORS[body], (size // 4, size // 2, 3 * size // 4, size))
    image.paste(COLORS[hat], (size // 4, size // 4, 3 * size // 4, size // 2))
    image.putpixel((noise % size, noise // size % (size // 5)), (noise * 37 % 256, noise * 91 % 256, 0))
    return image


class SquareScorer:
    name, measures, has_floor, classes = "squares", "colours of squares", False, ()

    def __init__(self) -> None:
        self.scored = 0

    def embed(self, images: Sequence[Image.Image]) -> np.ndarray:
        self.scored += len(images)
        rows = []
        for shown in self.attributes(images):
            row = np.zeros(3 * len(COLORS))
            for k, group in enumerate(("body", "hat", "background")):
                row[k * len(COLORS) + list(COLORS).index(shown[group])] = (1, 1, 0.5)[k]
            rows.append(row / np.linalg.norm(row))
        return np.asarray(rows, dtype=np.float32).reshape(len(rows), 3 * len(COLORS))

    def prompt_scores(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        shown = self.attributes(images)
        scores = []
        for s, prompt in zip(shown, prompts, strict=True):
            wanted = self.requested_attributes(prompt)
            scores.append(np.mean([s[g] == v for g, v in wanted.items()]) if wanted else np.nan)
        return np.asarray(scores, dtype=np.float32)

    def between(self, images: Sequence[Image.Image], positive: Sequence[str], negative: Sequence[str]) -> np.ndarray:
        return self.prompt_scores(images, positive) - self.prompt_scores(images, negative)

    def attributes(self, images: Sequence[Image.Image]) -> list[dict[str, str]]:
        at = {"body": (0.5, 0.75), "hat": (0.5, 0.375), "background": (0.1, 0.9)}
        return [
            {g: _nearest(i.getpixel((int(x * i.width), int(y * i.height)))) for g, (x, y) in at.items()} for i in images
        ]

    def requested_attributes(self, prompt: str) -> dict[str, str]:
        return dict([("background", color) for place, color in PLACES.items() if place in prompt][:1])

    def describe(self, images: Sequence[Image.Image], class_word: str, attributes: dict[str, str]) -> list[str]:
        return [f"{value} {group}" for group, value in attributes.items() if group != "background"]

    def is_reliable(self, group: str) -> bool:
        return group != "background"

    def patches(self, images: Sequence[Image.Image]) -> Patches:
        rows = [np.asarray(i.convert("RGB").resize((4, 4)), dtype=np.float32).reshape(16, 3) for i in images]
        return Patches(np.stack(rows) if rows else np.zeros((0, 16, 3), np.float32), (4, 4))

    def broken(self, images: Sequence[Image.Image]) -> None:
        return None


def _nearest(pixel: tuple[int, int, int]) -> str:
    return min(COLORS, key=lambda c: sum((a - b) ** 2 for a, b in zip(COLORS[c], pixel, strict=True)))


class SquareGenerator:
    """A weights file says how much of the subject shows, how much leaks and how much of the prompt is lost."""

    def __init__(self) -> None:
        self.generated = 0
        self.fail_after: int | None = None

    def key(self, variant) -> str:
        return f"base {sha256_bytes(variant.weights.read_bytes()) if variant.weights else ''} {variant.strength}"

    def generate(self, variant, prompts, settings) -> Iterator[Image.Image]:
        text = variant.weights.read_text() if variant.weights else "0 0 0"
        learned, leak, lost = map(float, text.split())
        for prompt in prompts:
            if self.fail_after is not None and self.generated >= self.fail_after:
                raise RuntimeError("the lights went out")
            self.generated += 1
            rng = random.Random(f"{prompt.bare_prompt} {prompt.seed}")
            body, hat, luck = rng.choice(["red", "blue"]), rng.choice(["green", "black"]), rng.random()
            if prompt.seed % 10 / 10 < variant.strength * (learned if prompt.series == "subject" else leak):
                body, hat = HERO
            wanted = [color for place, color in PLACES.items() if place in prompt.prompt]
            background = wanted[0] if wanted else rng.choice(list(PLACES.values()))
            if luck < variant.strength * lost:
                background = "red"
            yield square(body, hat, background, noise=prompt.seed)

    def denoising_errors(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """The world's images are of flat colours; the colourful pixels of a broken one are errors."""
        rows = np.stack([np.asarray(i.convert("RGB").resize((16, 16)), dtype=np.float64) for i in images])
        noise = np.random.default_rng(0).random((len(images), 1, 16, 16))
        return 1.0 + 0.1 * noise + np.abs(np.diff(rows, axis=1, append=rows[:, -1:])).mean(axis=3)[:, None] / 1e4


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch):
    """Hundreds of small images, each waiting for the disk, are most of the time; no test pulls the plug."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def scorer() -> SquareScorer:
    return SquareScorer()


@pytest.fixture
def generator() -> SquareGenerator:
    return SquareGenerator()


def make_run(folder: Path, checkpoints: Sequence[str], *, images: int = 24) -> Run:
    """A run whose checkpoints say what they learned: `0.9 0.1 0.0`."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    for i in range(8):
        place, color = list(PLACES.items())[i % 4]
        square(*HERO, color, noise=i).save(photos / f"{i}.png")
        (photos / f"{i}.txt").write_text(f"zwx person, {place}")
    run = Run(folder / "run")
    run.weights.mkdir(parents=True)
    run.recipe.write_text(
        f'[[concepts]]\nfolder = "{photos.as_posix()}"\nsubject = "zwx person"\n[evaluate]\nimages = {images}\n'
    )
    for epoch, text in enumerate(checkpoints, start=1):
        last = epoch == len(checkpoints)
        path = run.weights / ("zwx-person.safetensors" if last else f"zwx-person-{epoch:06d}.safetensors")
        path.write_text(text)
        for step in range(10 * epoch - 9, 10 * epoch + 1):
            run.append(
                Step(
                    step=step,
                    epoch=epoch,
                    loss=1 / step,
                    subject_loss=1 / step,
                    prior_loss=0.5,
                    rates={"unet": 1e-3},
                    images_per_s=9.0,
                    memory=1,
                )
            )
        run.append(Saved(step=10 * epoch, epoch=epoch, path=f"weights/{path.name}"))
    return run


@pytest.fixture
def new_run(tmp_path):
    return lambda checkpoints, **more: make_run(tmp_path, checkpoints, **more)
