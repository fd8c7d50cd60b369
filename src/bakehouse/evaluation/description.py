"""The description of a subject in words: everything that captions and scorer say about it, as a prompt for the base."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from bakehouse.evaluation.metrics import DOMINANT_SHARE
from bakehouse.recipe.words_in_captions import has_word

PHRASES = (
    "black hair", "brown hair", "blonde hair", "red hair", "gray hair", "pink hair", "blue hair", "curly hair",
    "long hair", "short hair", "bald", "beard", "moustache", "glasses", "sunglasses", "hat", "cap", "hood", "scarf",
    "tie", "dress", "suit", "dark skin", "freckles", "earrings", "red", "orange", "yellow", "green", "blue", "purple",
    "pink", "white", "black", "gray", "brown", "gold", "silver", "striped", "spotted", "furry", "fluffy", "shiny",
    "wooden", "metal", "plastic", "glass", "ceramic", "leather", "knitted", "round", "square", "tall", "small", "old",
    "cartoon", "drawing", "painting", "photo", "collar", "floppy ears", "pointed ears", "long fur", "short fur",
)  # fmt: skip
"""What CLIP is asked of photos whose scorer names no attributes."""
MOST_PHRASES = 4

PromptScores = Callable[[Sequence[Image.Image], Sequence[str]], ArrayLike]


def describe(
    captions: Sequence[str],
    trigger: str,
    *,
    said_by_scorer: Sequence[str] = (),
    left_out: Callable[[str], bool] = lambda tag: False,
) -> str:
    """Return the subject in words, as tags in one line; empty if nothing is known.

    Args:
        captions: the first caption of each training image.
        trigger: the trigger word; tags that contain it are left out.
        said_by_scorer: caption tags of what the scorer detects in most images.
        left_out: whether a tag says where or how the subject is shown, not what it is.
    """
    tags = [*said_by_scorer, *common_tags(captions, trigger)]
    return ", ".join(dict.fromkeys(tag for tag in tags if tag and not left_out(tag)))


def common_tags(captions: Sequence[str], trigger: str) -> list[str]:
    """Return the tags that at least `DOMINANT_SHARE` of the captions have, without those that contain the trigger.

    Longer ones are sentences of a natural-language caption and are left out.
    """
    counts = Counter(tag for caption in captions for tag in {t.strip() for t in caption.split(",")})
    common = [tag for tag, n in counts.items() if n >= DOMINANT_SHARE * len(captions) > 0]
    order = list(dict.fromkeys(t.strip() for caption in captions for t in caption.split(",")))
    return [
        tag for tag in order if tag in common and len(tag.split()) <= 4 and not (trigger and has_word(tag, trigger))
    ]


def ranked_phrases(
    images: Sequence[Image.Image], class_word: str, prompt_scores: PromptScores, *, most: int = MOST_PHRASES
) -> list[str]:
    """Return the `most` phrases that match the images best beside the class alone.

    A phrase counts if "CLASS, PHRASE" scores above "CLASS" in at least `DOMINANT_SHARE` of the images.
    """
    if not images:
        return []
    plain = np.asarray(prompt_scores(images, [class_word] * len(images)), dtype=np.float64)
    gains = {
        phrase: np.asarray(prompt_scores(images, [f"{class_word}, {phrase}"] * len(images)), dtype=np.float64) - plain
        for phrase in PHRASES
    }
    better = {phrase: float(gain.mean()) for phrase, gain in gains.items() if np.mean(gain > 0) >= DOMINANT_SHARE}
    return sorted(better, key=lambda phrase: -better[phrase])[:most]
