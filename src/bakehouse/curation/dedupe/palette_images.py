"""Palette images (at most 256 colours, as GIF has them): compare them with copies that have all colours."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bakehouse.data.open_image import open_image, opened

MAX_COLORS = 256
FULL_PALETTE = 200
"""With this many colours in use the image was reduced from more; with fewer it may have been drawn that way."""


def palette_of(path: Path) -> Image.Image | None:
    """Return an image that holds the palette in use of a palette file; None for other files.

    Raises:
        ImageError: as `data.open_image`.
    """
    colours = _palette_colors(path)
    if colours is None:
        return None
    image = Image.new("P", (1, 1))
    # Fill the rest of the palette with its first colour: black would be an extra one.
    image.putpalette([value for colour in colours + colours[:1] * (MAX_COLORS - len(colours)) for value in colour])
    return image


def is_full(path: Path) -> bool:
    """Return whether a file's palette was reduced from more colours."""
    colours = _palette_colors(path)
    return colours is not None and len(colours) >= FULL_PALETTE


def in_palette(image: Image.Image, palette: Image.Image) -> Image.Image:
    """Return an RGB image with each colour replaced by the nearest one of a palette."""
    return image.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")


def _palette_colors(path: Path) -> list[tuple[int, int, int]] | None:
    with opened(path) as file:
        if file.mode != "P":
            return None
    counted = open_image(path).getcolors(MAX_COLORS)
    return None if counted is None else [colour for _, colour in counted]  # type: ignore[misc]
