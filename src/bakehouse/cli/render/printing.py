"""Text that is shown to a person: whatever a file's name or a caption holds, it cannot steer the terminal."""

from __future__ import annotations

from typing import IO, Any

from bakehouse.core.pluralize import visible


def say(*values: Any, sep: str = " ", end: str = "\n", file: IO[str] | None = None, flush: bool = False) -> None:
    """As `print`, with what would steer the terminal made visible."""
    print(visible(sep.join(map(str, values))), end=end, file=file, flush=flush)
