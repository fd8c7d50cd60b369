"""What the crops of a person are: how many face heights each shows, and which words each can no longer mean."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Annotated

from pydantic import Field

from bakehouse.core.json_toml_yaml import parse_toml
from bakehouse.core.settings import Spec
from bakehouse.vision.faces import Face

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


class Framing(Spec):
    """One distance to crop at."""

    name: str
    tag: str
    """What captions call it."""
    heights: Annotated[float, Field(gt=1)]
    """Of the crop, in heights of the face."""
    shape: Annotated[float, Field(gt=0)]
    """Width by height."""
    gone: tuple[str, ...]
    """Which lists of words are of what lies below it."""
    outfit: bool = True
    """Whether enough of an outfit is seen for its trigger to stay."""


class TagPatterns(Spec):
    """Tags of a part of the body that a crop does not show; all in lower case, with spaces."""

    heads: tuple[str, ...] = ()
    """A tag that ends with one of these is gone."""
    tags: tuple[str, ...] = ()
    """Whole tags."""
    begins: tuple[str, ...] = ()
    """A tag that begins with one of these is gone."""


class FramingRules(Spec):
    """The file of rules."""

    above: Annotated[float, Field(ge=0)]
    """Heights of the face from its box up to the crop's upper edge."""
    tags: tuple[str, ...]
    """All words for how much of a person is seen."""
    framing: tuple[Framing, ...]
    gone: dict[str, TagPatterns]


@functools.cache
def load_framing_rules() -> FramingRules:
    """The rules that come with the package."""
    text = resources.files("bakehouse.curation.crops").joinpath("framing.toml").read_text("utf-8")
    return FramingRules.parse(parse_toml(text), source="framing.toml")


def crop_box(face: Face, size: tuple[int, int], framing: Framing, rules: FramingRules) -> Box | None:
    """Where a framing lies in an image of `size`; None where the image does not reach down so far.

    The box keeps the framing's height and is narrower where the image is; it moves sideways to stay inside.
    """
    width, height = size
    top = max(0.0, face.box[1] - rules.above * face.height)
    bottom = top + framing.heights * face.height
    if bottom > height * 1.02:
        return None
    bottom = min(bottom, float(height))
    wide = min(framing.shape * (bottom - top), float(width))
    left = min(max(0.0, face.center[0] - wide / 2), width - wide)
    return round(left), round(top), round(left + wide), round(bottom)
