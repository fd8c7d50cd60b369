"""Pictures of at most 256 colours, as GIF makes them: what a palette took away is no other expression."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bakehouse.data.open_image import open_image, opened

MOST = 256
FULL = 200
"""A palette of so many colours in use was made for a picture that had more; with fewer, it may have been drawn so."""


def palette_of(path: Path) -> Image.Image | None:
    """The colours of a file that is stored with a palette, as an image with that palette; None for all others.

    Raises:
        ImageError: as `data.open_image`.
    """
    colours = _colours(path)
    if colours is None:
        return None
    image = Image.new("P", (1, 1))
    # What is left of the palette repeats its first colour: black would be one more.
    image.putpalette([value for colour in colours + colours[:1] * (MOST - len(colours)) for value in colour])
    return image


def is_full(path: Path) -> bool:
    """Whether a file is stored with a palette that a picture of more colours was pressed into."""
    colours = _colours(path)
    return colours is not None and len(colours) >= FULL


def in_palette(image: Image.Image, palette: Image.Image) -> Image.Image:
    """An RGB image with each colour replaced by the nearest one of a palette."""
    return image.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")


def _colours(path: Path) -> list[tuple[int, int, int]] | None:
    with opened(path) as file:
        if file.mode != "P":
            return None
    counted = open_image(path).getcolors(MOST)
    return None if counted is None else [colour for _, colour in counted]  # type: ignore[misc]
