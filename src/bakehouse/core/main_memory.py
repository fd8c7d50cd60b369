"""The machine's main memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main_memory() -> tuple[int, int] | None:
    """Return the bytes that can be taken without swapping, and all; None where the system does not say.

    Only Linux says what is available; elsewhere half of all is taken for it, a safe guess.
    """
    if sys.platform == "win32":
        return None
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), total
    except (OSError, StopIteration):
        return total // 2, total
