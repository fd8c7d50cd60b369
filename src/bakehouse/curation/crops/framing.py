"""Framings of a person (cowboy shot, upper body, portrait): crop boxes relative to the face, and tags out of frame."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Annotated

from pydantic import Field

from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.core.settings import Spec
from bakehouse.data.context_tags import context_tags
from bakehouse.vision.faces import Face

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


class Framing(Spec):
    """One framing, such as `upper_body`."""

    name: str
    tag: str
    """The caption tag of this framing."""
    heights: Annotated[float, Field(gt=1)]
    """Height of the crop, in face heights."""
    shape: Annotated[float, Field(gt=0)]
    """Width / height."""
    gone: tuple[str, ...]
    """Names of the tag lists for what lies below the crop."""
    outfit: bool = True
    """Whether the crop shows enough of an outfit to keep its trigger."""


class TagPatterns(Spec):
    """Patterns for the tags of one part of the body, in lower case with spaces."""

    heads: tuple[str, ...] = ()
    """Matches tags that end with one of these words."""
    tags: tuple[str, ...] = ()
    """Matches whole tags."""
    begins: tuple[str, ...] = ()
    """Matches tags that begin with one of these words."""


class FramingRules(Spec):
    """The content of framing.toml."""

    above: Annotated[float, Field(ge=0)]
    """Distance from the face box up to the crop's upper edge, in face heights."""
    framing: tuple[Framing, ...]
    gone: dict[str, TagPatterns]

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags that name a framing."""
        return context_tags("framing")


@functools.cache
def load_framing_rules() -> FramingRules:
    """Return the rules of the package's framing.toml."""
    text = resources.files("bakehouse.curation.crops").joinpath("framing.toml").read_text("utf-8")
    rules = parse_toml(text)
    return FramingRules.parse({k: v for k, v in rules.items() if k != "headless"}, source="framing.toml")


def crop_box(face: Face, size: tuple[int, int], framing: Framing, rules: FramingRules) -> Box | None:
    """Return the box of a framing in an image of `size`, or None if the image does not extend far enough down.

    The box has the framing's height; it is narrowed and moved sideways to stay inside the image.
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
