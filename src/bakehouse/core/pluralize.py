"""Words of messages."""

from __future__ import annotations


def counted(n: int, word: str) -> str:
    """`1 image`, `12 images`, `2 boxes`, `5,000 copies`; of several words, the last one is counted."""
    if n == 1:
        return f"1 {word}"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{n:,} {word[:-1]}ies"
    return f"{n:,} {word}{'es' if word.endswith(('s', 'x', 'tch', 'sh')) else 's'}"
