"""What a base draws for a word: a sheet of pictures, and how much they have in common beside those of rare words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bakehouse.core.errors import UsageError
from bakehouse.core.events import OnEvent
from bakehouse.core.files import atomic_path
from bakehouse.evaluation.metrics import Floats, small_pixels
from bakehouse.evaluation.trigger_probe.probe_result import Probe
from bakehouse.generation.contact_sheet import draw_grid
from bakehouse.generation.request import ImageRequest

if TYPE_CHECKING:
    from bakehouse.generation.pipeline import Pipeline

STEPS = 12
_RARE = 4
"""Rare words that are drawn for comparison; they are not on the sheet."""


@dataclass(frozen=True)
class Look:
    """The pictures of one word, beside those of rare words at the same seeds."""

    word: str
    spread: float
    """How far pictures of the word alone lie apart, in what rare words' do: below 1, they share an idea."""
    change: float
    """How far the word changes the class word's pictures, in what rare words change."""


def draw_looks(
    pipeline: Pipeline, probe: Probe, out: Path, *, seeds: int = 4, on_event: OnEvent | None = None
) -> tuple[Look, ...]:
    """Draws the class, each word alone and each word before the class, and writes them as one PNG.

    Raises:
        UsageError: see `check_sheet`.
        BakehouseError: it cannot be written.
    """
    check_sheet(out, seeds)
    words = [r.word for r in probe.readings]
    rare = [w for w in probe.rare if w not in words][:_RARE]
    prompts = [probe.class_word]
    for word in (*words, *rare):
        prompts += [word, f"{word} {probe.class_word}".strip()]
    drawn = _draw(pipeline, list(dict.fromkeys(prompts)), seeds, on_event)
    _write(probe, drawn, seeds, out)
    return _compare(probe, drawn, words, rare)


def check_sheet(out: Path, seeds: int) -> None:
    """Raises UsageError where fewer than 2 pictures shall stand in a row, or the sheet's name does not end in .png."""
    if seeds < 2:
        raise UsageError(f"{seeds} pictures of a word: at least 2, or nothing can be compared")
    if out.suffix.lower() != ".png":
        raise UsageError(f"{out} is no name of a sheet", hint=f"{out.with_suffix('.png')} is one")


Drawn = dict[str, list[Image.Image]]


def _draw(pipeline: Pipeline, prompts: Sequence[str], seeds: int, on_event: OnEvent | None) -> Drawn:
    requests = [ImageRequest(prompt=p, seed=1, count=seeds, steps=STEPS) for p in prompts]
    made = [picture.image for picture in pipeline.generate(requests, on_event=on_event)]
    return {p: made[i * seeds : (i + 1) * seeds] for i, p in enumerate(prompts)}


def _compare(probe: Probe, drawn: Drawn, words: Sequence[str], rare: Sequence[str]) -> tuple[Look, ...]:
    small = {prompt: small_pixels(images) for prompt, images in drawn.items()}
    of_class = small[probe.class_word]

    def changed(word: str) -> float:
        return float(np.mean(_distance(small[f"{word} {probe.class_word}".strip()], of_class)))

    usual_spread = median(_spread(small[w]) for w in rare)
    usual_change = median(changed(w) for w in rare)
    tiny = 1e-9
    return tuple(
        Look(w, _spread(small[w]) / max(usual_spread, tiny), changed(w) / max(usual_change, tiny)) for w in words
    )


def _spread(rows: Floats) -> float:
    """Mean distance over pairs of pictures."""
    pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
    return float(np.mean([_distance(rows[i], rows[j]) for i, j in pairs]))


def _distance(a: Floats, b: Floats) -> Floats:
    """RMS over the last axis."""
    distance: Floats = np.sqrt(np.mean((a - b) ** 2, axis=-1))
    return distance


def _write(probe: Probe, drawn: Drawn, seeds: int, out: Path) -> None:
    """One column for each seed; rows: the class, then each word alone and before the class."""
    rows = {probe.class_word or "(no words)": drawn[probe.class_word]}
    for reading in probe.readings:
        rows[f"{reading.word} ({reading.verdict})"] = drawn[reading.word]
        if probe.class_word:
            prompt = f"{reading.word} {probe.class_word}"
            rows[prompt] = drawn[prompt]
    sheet = draw_grid(
        list(rows.values()), [f"seed {i + 1}" for i in range(seeds)], list(rows), f"drawn by {probe.base}"
    )
    notes = PngInfo()
    notes.add_itxt("bakehouse-probe", "; ".join(r.why for r in probe.readings))
    with atomic_path(out) as temporary:
        sheet.save(temporary, format="PNG", pnginfo=notes)
