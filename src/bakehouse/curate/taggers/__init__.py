"""Taggers: what is in an image, in the words of captions. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bakehouse.curate.taggers.vocabulary import Vocabulary

if TYPE_CHECKING:
    from bakehouse.curate.taggers.crumb import CrumbTagger, TagResult, prompt_accuracy

__all__ = ["CrumbTagger", "TagResult", "Vocabulary", "prompt_accuracy"]


def __getattr__(name: str) -> object:
    if name in {"CrumbTagger", "TagResult", "prompt_accuracy"}:
        from bakehouse.curate.taggers import crumb

        return getattr(crumb, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
