"""Taggers: predict caption tags for images. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bakehouse.core.lazy_names import lazy_names
from bakehouse.data.crumb_attributes import Vocabulary

if TYPE_CHECKING:
    from bakehouse.vision.taggers.crumb_tagger import CrumbTagger, TagResult, prompt_accuracy

__all__ = ["CrumbTagger", "TagResult", "Vocabulary", "prompt_accuracy"]

__getattr__ = lazy_names(__name__, dict.fromkeys(("CrumbTagger", "TagResult", "prompt_accuracy"), "crumb_tagger"))
