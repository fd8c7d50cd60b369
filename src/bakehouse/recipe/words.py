"""Words in captions."""

from __future__ import annotations


def has_word(caption: str, word: str) -> bool:
    """Whether a caption holds a word (or words), whatever stands around it and however it is written."""
    return f" {_bare(word)} " in f" {_bare(caption)} "


def _bare(text: str) -> str:
    kept = "".join(c if c.isalnum() or c in "_-'" else " " for c in text.lower())
    return " ".join(kept.split())
