"""Parse colours given by name, hex code or `rgb(...)`."""

from __future__ import annotations

from typing import Annotated

from PIL import ImageColor
from pydantic import AfterValidator


def parse_rgb(text: str) -> tuple[int, int, int]:
    """Return `white`, `#ff8800`, `#f80` or `rgb(255, 136, 0)` as red, green and blue in 0..255.

    Raises:
        ValueError: `text` is not a colour.
    """
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError as e:
        raise ValueError(f"{text!r} is not a colour; use for example white, #ff8800 or rgb(255, 136, 0)") from e
    return red, green, blue


def _checked(text: str) -> str:
    parse_rgb(text)
    return text


Color = Annotated[str, AfterValidator(_checked)]
"""A colour that `parse_rgb` accepts."""
