"""Pictures of at most 256 colours, as GIF makes them: what a palette took away is no other expression."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bakehouse.data.open_image import open_image, reading

MAX_COLORS = 256
FULL_PALETTE = 200
"""A palette of so many colours in use was made for a picture that had more; with fewer, it may have been drawn so."""


def palette_of(path: Path) -> Image.Image | None:
    """The colours of a file that is stored with a palette, as an image with that palette; None for all others.

    Raises:
        ImageError: as `data.open_image`.
    """
    colours = _palette_colors(path)
    if colours is None:
        return None
    image = Image.new("P", (1, 1))
    # What is left of the palette repeats its first colour: black would be one more.
    image.putpalette([value for colour in colours + colours[:1] * (MAX_COLORS - len(colours)) for value in colour])
    return image


def is_full(path: Path) -> bool:
    """Whether a file is stored with a palette that a picture of more colours was pressed into."""
    colours = _palette_colors(path)
    return colours is not None and len(colours) >= FULL_PALETTE


def in_palette(image: Image.Image, palette: Image.Image) -> Image.Image:
    """An RGB image with each colour replaced by the nearest one of a palette."""
    return image.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")


def _palette_colors(path: Path) -> list[tuple[int, int, int]] | None:
    with reading(path) as file:
        if file.mode != "P":
            return None
    counted = open_image(path).getcolors(MAX_COLORS)
    return None if counted is None else [colour for _, colour in counted]  # type: ignore[misc]
