"""Pieces of the page: figures as a person reads them, and pictures inside it."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from bakehouse.core.errors import BakehouseError
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.metrics import Interval

THUMB = 192
"""Side of single pictures on the page, pixels: sharp where they are shown, small in the file."""
QUALITY = 82
DASH, NBSP = "–", "\u00a0"


def picture(path: Path, alt: str) -> str:
    """A file as an image of the page; nothing where it is gone."""
    try:
        return embedded(open_image(path), alt, THUMB)
    except BakehouseError:
        # A page without one of its pictures still tells the rest.
        return ""


def maybe_picture(path: Path | None, alt: str) -> str:
    """As `picture`; nothing where there is none."""
    return picture(path, alt) if path is not None else ""


def embedded(image: Image.Image, alt: str, most: int) -> str:
    """An image inside the page, at most `most` pixels a side."""
    if max(image.size) > most:
        image = image.copy()
        image.thumbnail((most, most), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=QUALITY, method=4)
    data = base64.b64encode(stream.getvalue()).decode()
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img src="data:image/webp;base64,{data}" alt="{escape(alt)}" {size} loading="lazy" style="height:auto">'


def captioned(image: str, words: str) -> str:
    """An image with words under it."""
    return f"<figure>{image}<figcaption>{escape(words)}</figcaption></figure>"


def prose(text: str) -> str:
    """A figure stays in one line with its unit."""
    return escape(re.sub(r"(\d) (%|points?\b|of \d)", rf"\1{NBSP}\2", text))


def weights_listed(words: Sequence[str]) -> str:
    """`weights 0.6, 0.8 and 1`."""
    return words[0] if len(words) == 1 else f"weights {', '.join(words[:-1])} and {words[-1]}"


def percent(value: float) -> str:
    """A share of 1 in percent."""
    return DASH if math.isnan(value) else f"{max(0.0, 100 * value):.0f}{NBSP}%"


def in_points(figure: Interval) -> str:
    """A drift in points."""
    return f"{number(figure.value, 0)}{NBSP}points"


def number(value: float, places: int) -> str:
    """A number with so many decimals."""
    return DASH if math.isnan(value) else f"{value:.{places}f}"


def spread(figure: Interval, factor: float = 1.0) -> str:
    """The interval, low to high."""
    if math.isnan(figure.low):
        return DASH
    return f"{factor * figure.low:.0f}–{factor * figure.high:.0f}"


def with_spread(figure: Interval, factor: float) -> str:
    """A figure with its interval in small."""
    if math.isnan(figure.value):
        return DASH
    return f"{factor * figure.value:.0f} <small>{spread(figure, factor)}</small>"


def flag(text: str, broken: bool) -> str:
    """Words that are marked where they break a limit."""
    return f'<span class="over">{text}</span>' if broken else f"<span>{text}</span>"
