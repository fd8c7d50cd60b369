"""Printing of text that cannot control the terminal, whatever a file name or a caption contains."""

from __future__ import annotations

import shlex
from typing import IO, Any

from bakehouse.core.message_text import visible


def echo(*values: Any, sep: str = " ", end: str = "\n", file: IO[str] | None = None, flush: bool = False) -> None:
    """Print like `print`, with control characters made visible."""
    print(visible(sep.join(map(str, values))), end=end, file=file, flush=flush)


def shell_command(*words: object) -> str:
    """Return a command line to type, with the words quoted where a shell needs it."""
    return shlex.join(map(str, words))
