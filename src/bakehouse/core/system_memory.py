"""The machine's memory, in bytes."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def available_memory() -> int | None:
    """Return what can be used without swapping; None if unknown.

    Linux says it; on other systems it is half of what is installed, a safe guess.
    """
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        total = total_memory()
        return None if total is None else total // 2


def total_memory() -> int | None:
    """Return what is installed; None if unknown, as on Windows."""
    return None if sys.platform == "win32" else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
