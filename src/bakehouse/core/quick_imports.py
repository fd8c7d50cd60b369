"""Imports of large libraries without collecting garbage meanwhile.

An import makes hundreds of thousands of objects that stay: classes, functions, docstrings. Each time enough of them
are new, Python searches them all for garbage, and finds none: an eighth of the processor time until the first image.
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
        gc.enable()
