"""Twenty-five prompts for subjects without published ones: places, what they wear or lie on, and properties.

The kinds and their numbers are those of the DreamBooth paper (section 4.1): 20 and 5 for objects; 10, 10 and 5 for live
subjects.
"""

from __future__ import annotations

from bakehouse.evaluation.prompt_set import (
    CLOTHES,
    COLORS,
    EXPRESSIONS,
    GLASSES,
    PLACES,
    PROPERTIES,
    RECONTEXT,
    RENDERED,
    STAND,
    WEAR,
)

LIVE = ("person", "robot", "man", "woman", "boy", "girl", "cat", "dog")
"""Classes that wear things."""
_SEEN = ("close-up", "from afar")


def own_prompts(class_word: str, *, crumb: bool) -> tuple[str, ...]:
    """Return 25 prompts with `{0}` for the trigger and `{1}` for the class.

    Args:
        class_word: of the subject; it decides whether the subject wears things.
        crumb: tags of the embedded base, else sentences.
    """
    is_live = class_word in LIVE
    if not crumb:
        chosen = (*RECONTEXT, *(WEAR if is_live else STAND), *(RENDERED if is_live else PROPERTIES))
        return tuple(_sentence(text) for text in chosen)
    if class_word == "person":
        worn, looks = (*CLOTHES, *GLASSES), (*EXPRESSIONS, "close-up")
        tags = [*PLACES[:10], *(f"{words}, {_place(i)}" for i, words in enumerate((*worn, *looks)))]
        return tuple(f"{{0}} {{1}}, {tag}" for tag in tags)
    framed = [f"{_SEEN[i % 2]}, {place}" for i, place in enumerate(PLACES[:8])]
    tags = [*PLACES, *framed, "close-up, in a meadow"]
    return (*(f"{{0}} {{1}}, {tag}" for tag in tags), *(f"{color} {{0}} {{1}}" for color in COLORS))


def _place(i: int) -> str:
    return PLACES[(3 * i + 1) % len(PLACES)]


def _sentence(text: str) -> str:
    """Return `{} on the beach` as `a {0} {1} on the beach`, and `a red {}` as `a red {0} {1}`."""
    has_article = text.startswith("a ") and text.endswith(" {}") and " of " not in text
    return text.replace("{}", "{0} {1}" if has_article else "a {0} {1}")
