"""Regions of an image, each with a prompt of its own. Plain values, no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from PIL import Image

from bakehouse.core.errors import Problems, UsageError, did_you_mean
from bakehouse.generation.img2img_settings import ImageFile, check

DEFAULT_BASE = 0.1
DEFAULT_EDGE = 3.0
MAX_EDGE = 25.0
MAX_REGIONS = 16
_MASK = re.compile(r"\s*mask\s*=\s*(.+?\.\w+)\s*:(.*)", re.DOTALL)
_IN_MEMORY = "an image in memory"
NOTATION = 'write "AREA: PROMPT", such as "left: a cat", "10,0,50,100: a cat" or "mask=FILE.png: a cat"'


@dataclass(frozen=True)
class Box:
    """A rectangle in percent of the image's width and height, from its left and its top.

    Raises:
        Problems: an edge outside of 0 to 100, or edges in the wrong order.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        check(
            f"the box {self} is not inside the image",
            *(
                (math.isfinite(edge) and 0 <= edge <= 100, f"{name} = {edge:g}: allowed are 0 to 100 percent")
                for name, edge in vars(self).items()
            ),
            (self.left < self.right, f"left = {self.left:g} must be less than right = {self.right:g}"),
            (self.top < self.bottom, f"top = {self.top:g} must be less than bottom = {self.bottom:g}"),
        )

    def __str__(self) -> str:
        return ",".join(repr(edge).removesuffix(".0") for edge in vars(self).values())


_THIRD = 100 / 3
AREAS: Mapping[str, Box] = {
    "left": Box(0, 0, 50, 100),
    "right": Box(50, 0, 100, 100),
    "top": Box(0, 0, 100, 50),
    "bottom": Box(0, 50, 100, 100),
    "left-third": Box(0, 0, _THIRD, 100),
    "middle-third": Box(_THIRD, 0, 2 * _THIRD, 100),
    "right-third": Box(2 * _THIRD, 0, 100, 100),
}
"""Areas that have a name."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of the image and its prompt.

    Raises:
        Problems: no prompt, an unknown area, or a box outside of the image.
    """

    area: str | Box | None = None
    """A name in `AREAS`, a box in percent, or its text: `10,0,50,100` for left, top, right and bottom."""
    mask: ImageFile | None = None
    """In place of an area: white belongs to the region, black does not, gray does in part; of an image with
    transparency, what is opaque. It has the image's shape."""
    prompt: str
    """In the prompt language of the main prompt, without AND. Adapters that it names act in this region alone."""

    def __post_init__(self) -> None:
        if (self.area is None) == (self.mask is None):
            raise Problems("this region cannot be drawn:", ["it needs an area or a mask, and not both"])
        if not self.prompt.strip():
            raise Problems(f"the region {self.label} cannot be drawn:", ["it has no prompt"], hint=NOTATION)
        _ = self.box  # read here, so that a wrong one is refused

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the region of `left: PROMPT`, `10,0,50,100: PROMPT` or `mask=FILE.png: PROMPT`.

        Raises:
            Problems, UsageError: as the class, or no colon.
        """
        if found := _MASK.fullmatch(text):
            return cls(mask=Path(found[1].strip()).expanduser(), prompt=found[2].strip())
        area, colon, prompt = text.partition(":")
        if not colon:
            raise UsageError(f"region {text!r} has no colon after its area", hint=NOTATION)
        if area.strip().startswith("mask"):
            raise UsageError(f"region {text!r}: its mask cannot be read", hint=NOTATION)
        return cls(area=area.strip(), prompt=prompt.strip())

    @property
    def box(self) -> Box | None:
        """The area as a box; None for a mask.

        Raises:
            Problems, UsageError: no area has this name, or the box is outside of the image.
        """
        if self.area is None or isinstance(self.area, Box):
            return self.area
        return AREAS[self.area] if self.area in AREAS else _box_of(self.area)

    @property
    def label(self) -> str:
        """The area as it is written before a prompt."""
        if self.mask is None:
            return str(self.area)
        return f"mask={_IN_MEMORY if isinstance(self.mask, Image.Image) else self.mask}"

    def __str__(self) -> str:
        return f"{self.label}: {self.prompt}"


def _box_of(text: str) -> Box:
    if "," not in text and not text[:1].isdigit():
        hint = f"areas are {', '.join(AREAS)}, boxes such as 10,0,50,100, and masks such as mask=FILE.png"
        raise UsageError(f"no area of an image is called {text!r}{did_you_mean(text, AREAS)}", hint=hint)
    try:
        left, top, right, bottom = (float(edge.strip().removesuffix("%")) for edge in text.split(","))
    except ValueError as e:
        raise UsageError(
            f"the area {text!r} cannot be read as a box",
            hint="a box is four numbers, left, top, right and bottom in percent of the image: 10,0,50,100",
        ) from e
    return Box(left, top, right, bottom)


@dataclass(frozen=True, kw_only=True)
class Regions:
    """The regions of an image. The main prompt is the base: it is everywhere, and alone where no region is.

    Raises:
        Problems: values out of range, all of them at once.
    """

    regions: tuple[Region, ...]
    """Where they overlap, they share."""
    base: float = DEFAULT_BASE
    """0 to 1: the main prompt's weight where regions are; they have the rest. It ties the image together; at 0
    regions know nothing of it, at 1 their prompts have no effect."""
    edge: float = DEFAULT_EDGE
    """The soft edge of regions: the standard deviation in percent of the image's shorter side. 0: hard edges."""

    def __post_init__(self) -> None:
        check(
            "these regions cannot be drawn",
            (1 <= len(self.regions) <= MAX_REGIONS, f"{len(self.regions)} regions: allowed are 1 to {MAX_REGIONS}"),
            (0 <= self.base <= 1, f"base = {self.base:g}: allowed are 0 (regions alone) to 1"),
            (0 <= self.edge <= MAX_EDGE, f"edge = {self.edge:g}: allowed are 0 (hard) to {MAX_EDGE:g} percent"),
        )

    @classmethod
    def parse(cls, texts: Iterable[str], *, base: float = DEFAULT_BASE, edge: float = DEFAULT_EDGE) -> Self:
        """Return the regions of texts such as `left: a cat`; see `Region.parse`."""
        return cls(regions=tuple(Region.parse(text) for text in texts), base=base, edge=edge)
