"""Taggers: predict caption tags for images. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bakehouse.data.crumb_attributes import Vocabulary

if TYPE_CHECKING:
    from bakehouse.vision.taggers.crumb_tagger import CrumbTagger, TagResult, prompt_accuracy

__all__ = ["CrumbTagger", "TagResult", "Vocabulary", "prompt_accuracy"]


def __getattr__(name: str) -> object:
    if name in {"CrumbTagger", "TagResult", "prompt_accuracy"}:
        from bakehouse.vision.taggers import crumb_tagger

        return getattr(crumb_tagger, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
