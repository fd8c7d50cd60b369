"""Names of a package that are imported when they are first asked for: commands that use none start sooner (PEP 562)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str], during: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package.

    Args:
        package: its full name.
        homes: for each name the module in the package that has it, such as `report` or `grids.grid`.
        during: makes the context in which modules are imported.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with during():
            module = importlib.import_module(f"{package}.{homes[name]}")
        return getattr(module, name)

    return find
