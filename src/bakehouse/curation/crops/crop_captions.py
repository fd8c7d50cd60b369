"""Adapt a caption to a crop: set the framing's tag and drop tags of what the crop does not show."""

from __future__ import annotations

from collections.abc import Collection

from bakehouse.curation.crops.framing import Framing, FramingRules, TagPatterns
from bakehouse.data.captions import split_tags

MAX_TAG_WORDS = 4
"""Longest text in words that is treated as a tag; longer ones are sentences, which may name more than the body part."""


def crop_caption(caption: str, framing: Framing, rules: FramingRules, *, outfit: Collection[str] = ()) -> str:
    """Return a caption for the crop: with the framing's tag, without tags of what is cropped away. Idempotent.

    Tags are spelled as in the caption, with spaces or underscores.

    Args:
        caption: of the whole image.
        framing: of the crop.
        rules: the tags of each framing and body part.
        outfit: triggers of outfits, removed from framings that do not show enough of an outfit.
    """
    before = split_tags(caption)
    written = spelled_like(framing.tag, before)
    dropped = () if framing.outfit else {normalize_tag(word) for word in outfit}
    kept: list[str] = []
    for tag in before:
        if normalize_tag(tag) in rules.tags:
            kept += [] if written in kept else [written]
        elif normalize_tag(tag) not in dropped and not is_out_of_frame(tag, framing, rules):
            kept.append(tag)
    return ", ".join(kept if written in kept else [*kept, written])


def is_out_of_frame(tag: str, framing: Framing, rules: FramingRules) -> bool:
    """Return whether a tag names a part of the body that the framing does not show."""
    words = normalize_tag(tag).split()
    if not words or len(words) > MAX_TAG_WORDS:
        return False
    return any(matches_pattern(words, rules.gone[zone]) for zone in framing.gone)


def matches_pattern(words: list[str], zone: TagPatterns) -> bool:
    """Return whether the words of a tag, normalised, are one of a list of tags."""
    tails = {" ".join(words[i:]) for i in range(len(words))}
    starts = {" ".join(words[: i + 1]) for i in range(len(words))}
    return " ".join(words) in zone.tags or not tails.isdisjoint(zone.heads) or not starts.isdisjoint(zone.begins)


def normalize_tag(tag: str) -> str:
    """Return a tag in lower case, with spaces, and without the backslashes of escaped brackets."""
    return " ".join(tag.lower().replace("_", " ").replace("\\", "").split())


def spelled_like(tag: str, tags: Collection[str]) -> str:
    """Return a tag with underscores if most tags of the caption have them, else with spaces."""
    joined = sum("_" in other.strip("_") for other in tags)
    spaced = sum(" " in other for other in tags)
    return tag.replace(" ", "_") if joined > spaced else tag
