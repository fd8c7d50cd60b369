"""Colours as people write them."""

from __future__ import annotations

from typing import Annotated

from PIL import ImageColor
from pydantic import AfterValidator


def parse_rgb(text: str) -> tuple[int, int, int]:
    """`white`, `#ff8800`, `#f80` or `rgb(255, 136, 0)` as red, green and blue, 0..255.

    Raises:
        ValueError: it is no colour.
    """
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError as e:
        raise ValueError(f"{text!r} is no colour; write white, #ff8800 or rgb(255, 136, 0)") from e
    return red, green, blue


def _checked(text: str) -> str:
    parse_rgb(text)
    return text


Color = Annotated[str, AfterValidator(_checked)]
"""A colour's name or figures."""
