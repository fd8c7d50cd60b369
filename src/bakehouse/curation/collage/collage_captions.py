"""Captions of collages: the word of the pair, both subjects, the tags of each, and the new background."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bakehouse.core.errors import UsageError
from bakehouse.data.captions import split_tags
from bakehouse.data.context_tags import context_of
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.tag_groups import plain
from bakehouse.data.tags import form_of
from bakehouse.data.triggers import TRIGGER_FILE, TriggerFile

COMMON_SHARE = 0.6
"""The first tag of at least this share of the captions is the subject."""

_NUMBER = re.compile(r"([1-9]\d*)(girl|boy|other)s?")


def subject_of(folder: Path, images: Sequence[ImageRecord], given: str, option: str) -> str:
    """Return the words by which captions name a subject, `zwx person`: given, declared, or the captions' first tag.

    Raises:
        UsageError: none of them says it.
    """
    if given:
        return given
    path = folder / TRIGGER_FILE
    if path.is_file():
        return TriggerFile.load(path).triggers[0].head
    first = [tags[0] for record in images for line in record.captions[:1] if (tags := split_tags(line))]
    tag, count = Counter(first).most_common(1)[0] if first else ("", 0)
    if count < COMMON_SHARE * len(images) or context_of(tag) is not None:
        said = (
            f"the captions begin with different tags, {tag!r} in {count} of {len(images)}" if first else "no captions"
        )
        raise UsageError(f"{folder}: cannot tell the subject's trigger: {said}", hint=f'name it: {option} "zwx person"')
    return tag


def collage_caption(
    pair: str,
    subjects: tuple[str, str],
    captions: tuple[str, str],
    background: Sequence[str],
) -> str:
    """Return the caption of two subjects in one image.

    It keeps the framing that both captions name, and drops what is said of the old surroundings. Sentences, which may
    name both, are left out.

    Args:
        pair: the word of the pair; empty: none.
        subjects: their triggers, with class words.
        captions: of the two images.
        background: tags of the new background.
    """
    tags = [split_tags(text) if form_of(text) == "tags" else [] for text in captions]
    said = [{plain(tag): tag for tag in some} for some in tags]
    framing = [tag for key, tag in said[0].items() if key in said[1] and context_of(tag) == "framing"]
    heads = {plain(word) for words in subjects for word in (words, words.split()[0])}
    about = [tag for some in tags for tag in some if context_of(tag) is None and plain(tag) not in heads]
    words = [pair, *subjects, *_numbers(tags), *about, *background, *framing]
    unique: dict[str, str] = {}
    for word in filter(None, words):
        unique.setdefault(plain(word), word)
    return ", ".join(unique.values())


def _numbers(tags: Sequence[Sequence[str]]) -> list[str]:
    """Return how many people both captions together name: `1girl` and `1girl` are `2girls`."""
    total: Counter[str] = Counter()
    for some in tags:
        for tag in some:
            if found := _NUMBER.fullmatch(plain(tag)):
                total[found[2]] += int(found[1])
    return [f"{count}{noun}{'s' if count > 1 else ''}" for noun, count in total.items()]
