"""Figures and images of the report page: numbers as text, images as data URIs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import BakehouseError
from bakehouse.core.html_pages import InlineImage, inline_image
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.metrics import Interval

THUMBNAIL = 192
"""Longest side of single images on the page, pixels: sharp at the size shown, small in the file."""
DASH, NBSP = "–", "\u00a0"


@dataclass(frozen=True)
class Figure:
    """A number as text, with its interval if there is one, and whether it breaks a limit."""

    text: str
    interval: str = ""
    over: bool = False


@dataclass(frozen=True)
class Thumbnail:
    """An image of the page with its alternative text; None if the file is gone or was never generated."""

    image: InlineImage | None
    alt: str
    caption: str = ""


def thumbnail(path: Path | None, alt: str, caption: str = "") -> Thumbnail:
    """Return an image file as a thumbnail; a page without one of its images still has the rest."""
    if path is None:
        return Thumbnail(None, alt, caption)
    try:
        return Thumbnail(inline_image(open_image(path), THUMBNAIL), alt, caption)
    except BakehouseError:
        return Thumbnail(None, alt, caption)


def keep_units(text: str) -> str:
    """Return a sentence with no-break spaces between figures and their units."""
    return re.sub(r"(\d) (%|points?\b|of \d)", rf"\1{NBSP}\2", text)


def strengths_listed(strengths: Sequence[float]) -> str:
    """Return `strength 1`, or `strengths 0.6, 0.8 and 1`."""
    words = [f"{s:g}" for s in strengths]
    return f"strength {words[0]}" if len(words) == 1 else f"strengths {', '.join(words[:-1])} and {words[-1]}"


def percent(value: float) -> str:
    """Return a share of 1 in percent."""
    return DASH if math.isnan(value) else f"{max(0.0, 100 * value):.0f}{NBSP}%"


def in_points(figure: Interval) -> str:
    """Return a figure in points, `1 point` or `12 points`."""
    text = number(figure.value, 0)
    return f"{text}{NBSP}point{'s' * (text != '1')}"


def number(value: float, places: int) -> str:
    """Return a number with fixed decimals."""
    return DASH if math.isnan(value) else f"{value:.{places}f}"


def interval(figure: Interval, factor: float = 1.0) -> str:
    """Return the interval, low to high."""
    if math.isnan(figure.low):
        return DASH
    return f"{factor * figure.low:.0f}–{factor * figure.high:.0f}"


def with_interval(figure: Interval, factor: float = 1.0, places: int = 0, *, over: bool = False) -> Figure:
    """Return a figure with its interval."""
    if math.isnan(figure.value):
        return Figure(DASH)
    return Figure(number(factor * figure.value, places), interval(figure, factor), over)
