"""Words in captions."""

from __future__ import annotations

import re
from collections.abc import Sequence


def has_word(caption: str, word: str) -> bool:
    """Whether a caption contains a word (or words), whatever the case and punctuation."""
    return f" {_bare(word)} " in f" {_bare(caption)} "


def mostly_not_first(captions: Sequence[str], phrase: str) -> bool:
    """Whether in more than half of the captions the phrase is a tag that is not the first."""
    tags = [[tag.strip() for tag in re.split(r",|\|\|\|", caption)] for caption in captions]
    return 2 * sum(phrase in each[1:] for each in tags) > len(captions)


def _bare(text: str) -> str:
    kept = "".join(c if c.isalnum() or c in "_-'" else " " for c in text.lower())
    return " ".join(kept.split())


_PLAIN = frozenset(["a", "an", "the", "of", "photo", "photograph", "picture", "image", "painting", "in", "style"])


def split_prompt(prompt: str, class_prompt: str) -> tuple[str, str]:
    """Split `a photo of sks dog` into `sks` (not in the class prompt, else the first telling word) and `dog`."""
    words = re.findall(r"[\w'-]+", prompt)
    classes = re.findall(r"[\w'-]+", class_prompt)
    new = [w for w in words if w not in classes] if classes else [w for w in words if w.lower() not in _PLAIN][:1]
    rest = [w for w in words if w not in new and w.lower() not in _PLAIN]
    return " ".join(new), " ".join(rest)
