"""Sheets of sample images, for a visual check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

PROMPTS = (
    "person, pink afro, tan skin, green hoodie, at the beach, portrait",
    "a portrait of a person with black hair bun, dark skin, red hoodie and big smile, white background",
    "a close-up of a person with blonde long hair, pale skin and blue round glasses, in a forest",
    "anime, person, purple ponytail, light skin, white shirt, smile, in the city",
    "comic drawing, person, cyan spiky hair, tan skin, yellow glasses, black jacket, angry, portrait",
    "a storybook illustration of a surprised person with red braids, pale skin and navy dress, in the snow",
    "a view from afar of a person with red bob cut, light skin and navy blazer and shirt, at sunset",
    "pixel art, person, black short hair, light skin, red shirt",
    "green robot, square head, horns on top, at night",
    "a dog, at the beach",
    "soft 3d icon, fox face, pink background",
    "outlined icon, cat, in a room",
    "a blue car, in the city",
    "a coffee cup, yellow and white striped background",
    "a strawberry, teal background",
    "a penguin on the left and a tree on the right, in the snow",
    "a person on the left with green afro and brown skin and a cat on the right, in a meadow",
    "a rocket, in outer space",
    "a person on the left with black beard and tan skin and a person on the right with blonde long hair, in a room",
    "person",
)
"""Prompts of the sheet; none is a training caption."""


def sheet(images: Sequence[Image.Image], columns: int, out: Path, size: int = 128) -> None:
    """Write images in rows of `columns`, two pixels apart."""
    cell = size + 2
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * cell, rows * cell), "white")
    for i, image in enumerate(images):
        page.paste(image.convert("RGB").resize((size, size)), (i % columns * cell, i // columns * cell))
    page.save(out, optimize=True)
