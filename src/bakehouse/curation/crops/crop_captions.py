"""A caption that follows its image into a crop: it says what is seen, and nothing that is not."""

from __future__ import annotations

from collections.abc import Collection

from bakehouse.curation.crops.framing import Framing, FramingRules, TagPatterns
from bakehouse.data.captions import split_tags

MAX_TAG_WORDS = 4
"""Words; what is longer is a sentence, and a sentence that ends with "boots" may be about much else."""


def crop_caption(caption: str, framing: Framing, rules: FramingRules, *, outfit: Collection[str] = ()) -> str:
    """One caption as it is true of the crop: the framing's tag set, tags of what is cut away gone.

    Applied twice it is as applied once. Tags are written as the caption writes them, with spaces or underscores.

    Args:
        caption: of the whole image.
        framing: of the crop.
        rules: which words are of what.
        outfit: triggers of outfits, which go where the crop ends above the heart.
    """
    before = split_tags(caption)
    written = _spelled_like(framing.tag, before)
    dropped = () if framing.outfit else {normalize_tag(word) for word in outfit}
    kept: list[str] = []
    for tag in before:
        if normalize_tag(tag) in rules.tags:
            kept += [] if written in kept else [written]
        elif normalize_tag(tag) not in dropped and not is_out_of_frame(tag, framing, rules):
            kept.append(tag)
    return ", ".join(kept if written in kept else [*kept, written])


def is_out_of_frame(tag: str, framing: Framing, rules: FramingRules) -> bool:
    """Whether a tag is of a part of the body that the framing does not show."""
    words = normalize_tag(tag).split()
    if not words or len(words) > MAX_TAG_WORDS:
        return False
    return any(_matches(words, rules.gone[zone]) for zone in framing.gone)


def _matches(words: list[str], zone: TagPatterns) -> bool:
    tails = {" ".join(words[i:]) for i in range(len(words))}
    starts = {" ".join(words[: i + 1]) for i in range(len(words))}
    return " ".join(words) in zone.tags or not tails.isdisjoint(zone.heads) or not starts.isdisjoint(zone.begins)


def normalize_tag(tag: str) -> str:
    """A tag as it is compared: lower case, spaces, without the backslashes of escaped brackets."""
    return " ".join(tag.lower().replace("_", " ").replace("\\", "").split())


def _spelled_like(tag: str, tags: Collection[str]) -> str:
    """A tag of several words as the others of the caption are written."""
    joined = sum("_" in other.strip("_") for other in tags)
    spaced = sum(" " in other for other in tags)
    return tag.replace(" ", "_") if joined > spaced else tag
