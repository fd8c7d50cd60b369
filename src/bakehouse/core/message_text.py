"""Text of messages: counts (`3 images`), lists (`a, b and 4 more`), and control characters from files made visible."""

from __future__ import annotations

import re
from collections.abc import Sequence

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters except tab and newline, and characters that change the writing direction or break lines."""


def counted(n: int, word: str) -> str:
    """Return a number with its noun: `1 image`, `2 boxes`, `5,000 copies`. Of several words, the last one changes."""
    if n == 1:
        return f"1 {word}"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{n:,} {word[:-1]}ies"
    return f"{n:,} {word}{'es' if word.endswith(('s', 'x', 'tch', 'sh')) else 's'}"


def listed(names: Sequence[object], most: int = 6) -> str:
    """Return the first `most` names joined by commas, with the number of the others: `a, b and 4 more`."""
    rest = len(names) - most
    return ", ".join(str(name) for name in names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def visible(text: str) -> str:
    r"""Return the text with control characters and changes of writing direction as escapes: `\u001b`.

    JSON and TOML read these escapes.
    """
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
