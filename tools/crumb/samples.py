"""Sheets of sample images, for a visual check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

PROMPTS = (
    "person, pink afro, tan skin, green hoodie, at the beach, portrait",
    "a portrait of a person with black hair bun, dark skin and red hoodie, white background",
    "a close-up of a person with blonde long hair, pale skin, sunglasses and blue crew neck shirt, in a forest",
    "robot, green robot, square head, at night",
    "ink drawing, person, long hair, tan skin, blue shirt, portrait",
    "pixel art, person, black short hair, light skin, red shirt",
    "a view from afar of a person with red bob cut, light skin and navy blazer and shirt, at sunset",
    "person, brown short curly hair, brown skin, yellow overalls, big smile, round glasses, in the snow",
    "a portrait of a person with gray beanie",
    "person, purple long straight hair, heart eyes, red and white striped background",
    "a close-up of a robot",
    "person, orange turban, brown beard, dark skin, in the desert",
    "person, blue mullet, pale skin, tongue out, in outer space, portrait",
    "a portrait of a person with platinum medium hair, winking, in the city",
    "person, green hijab, tan skin, black blazer and sweater, sky blue background, portrait",
    "person",
)


def sheet(images: Sequence[Image.Image], columns: int, out: Path, size: int = 128) -> None:
    """Write images in rows of `columns`, two pixels apart."""
    cell = size + 2
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * cell, rows * cell), "white")
    for i, image in enumerate(images):
        page.paste(image.convert("RGB").resize((size, size)), (i % columns * cell, i // columns * cell))
    page.quantize(255).save(out, optimize=True)
