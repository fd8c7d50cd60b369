"""Crops below the chin: an outfit without who wears it, with captions that no longer name head or character."""

from __future__ import annotations

import functools
from collections.abc import Collection
from importlib import resources
from typing import Annotated

from pydantic import Field

from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.core.settings import Spec
from bakehouse.curation.crops.crop_captions import MAX_TAG_WORDS, matches_pattern, normalize_tag, spelled_like
from bakehouse.curation.crops.framing import Box, FramingRules, TagPatterns
from bakehouse.data.captions import split_tags
from bakehouse.vision.faces import Face


class Hair(TagPatterns):
    """Tags of hair, and those of hair that falls below the chin."""

    long: tuple[str, ...] = ()
    """With one of these tags in a caption, its tags of hair stay."""


class HeadlessRules(Spec):
    """The `headless` table of framing.toml."""

    name: str
    tag: str
    """The tag that captions get."""
    below: Annotated[float, Field(ge=0)]
    """Distance from the face box down to the crop's upper edge, in face heights."""
    least: Annotated[float, Field(gt=0)]
    """Least height of the crop, in face heights."""
    gone: TagPatterns
    """Tags of the head."""
    hair: Hair


@functools.cache
def load_headless_rules() -> HeadlessRules:
    """Return the rules of the package's framing.toml."""
    text = resources.files("bakehouse.curation.crops").joinpath("framing.toml").read_text("utf-8")
    return HeadlessRules.parse(parse_toml(text)["headless"], source="framing.toml")


def headless_box(face: Face, size: tuple[int, int], rules: HeadlessRules) -> Box | None:
    """Return what lies below a face in an image of `size`, in full width, or None if it is too little for an outfit."""
    width, height = size
    top = round(face.box[3] + rules.below * face.height)
    return (0, top, width, height) if height - top >= rules.least * face.height else None


def headless_caption(
    caption: str, rules: HeadlessRules, framing: FramingRules, *, characters: Collection[str] = ()
) -> str:
    """Return a caption without tags of the head, of framings and of characters, and with `head out of frame`.

    Idempotent. Tags are spelled as in the caption, with spaces or underscores; sentences stay.

    Args:
        caption: of the whole image.
        rules: the tags of the head.
        framing: the tags of framings.
        characters: triggers, removed also from a tag with the class word: `zwx person` becomes `person`.
    """
    before = split_tags(caption)
    written = spelled_like(rules.tag, before)
    is_long = any(normalize_tag(tag) in rules.hair.long for tag in before)
    zones = (rules.gone,) if is_long else (rules.gone, rules.hair)
    words = sorted(map(normalize_tag, characters), key=len, reverse=True)
    kept: list[str] = []
    for tag in before:
        rest = _without(tag, words)
        if rest is None or normalize_tag(tag) in framing.tags or normalize_tag(tag) == rules.tag:
            continue
        own = normalize_tag(rest).split()
        if len(own) <= MAX_TAG_WORDS and any(matches_pattern(own, zone) for zone in zones):
            continue
        kept.append(rest)
    return ", ".join([*kept, written])


def _without(tag: str, words: Collection[str]) -> str | None:
    """Return a tag without the first of these words that it begins with; None if nothing is left."""
    plain = normalize_tag(tag)
    for word in words:
        if plain == word:
            return None
        if plain.startswith(f"{word} "):
            return " ".join(tag.replace("_", " ").split()[len(word.split()) :])
    return tag
