"""Imports of large libraries without collecting garbage meanwhile.

An import makes hundreds of thousands of objects that stay: classes, functions, docstrings. Each time enough of them
are new, Python searches them all for garbage, and finds none: a third of the processor time until the first image.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Collect no garbage inside a `with` block, which should hold import statements alone."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        # What was imported is never searched again: else the first full search pays for all that were left out.
        gc.freeze()
        gc.enable()


def collect_garbage_rarely() -> None:
    """Search for garbage after every 20,000 new objects, not 700: for processes that mostly import and compute."""
    gc.set_threshold(20_000, 10, 10)
