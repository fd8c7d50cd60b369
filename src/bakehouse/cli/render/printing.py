"""Text that is shown to a person: whatever a file's name or a caption holds, it cannot steer the terminal."""

from __future__ import annotations

import re
from typing import IO, Any

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters but tabs and newlines, and what turns the direction of writing or breaks lines."""


def visible(text: str) -> str:
    r"""The text with every character that steers a terminal as an escape (`\u001b`), which JSON and TOML also read."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say(*values: Any, sep: str = " ", end: str = "\n", file: IO[str] | None = None, flush: bool = False) -> None:
    """As `print`, with what would steer the terminal made visible."""
    print(visible(sep.join(map(str, values))), end=end, file=file, flush=flush)
