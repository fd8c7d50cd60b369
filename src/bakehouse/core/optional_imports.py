"""Libraries that only some verbs need: asked for when they are, by the words that install them."""

from __future__ import annotations

import importlib
from typing import Any

from bakehouse.core.errors import UsageError

_PACKAGES = {"cv2": "opencv-python-headless"}
"""Modules that their package names otherwise."""


def import_optional(module: str, purpose: str) -> Any:
    """A module of the extra `curate`.

    Args:
        module: `cv2`, `onnxruntime`, ...
        purpose: what it is for, to be read before "needs": "finding text".

    Raises:
        UsageError: it is not installed, or cannot be imported; says what to type.
    """
    try:
        return importlib.import_module(module)
    except ImportError as e:
        package = _PACKAGES.get(module, module)
        raise UsageError(
            f"{purpose} needs {package}, which cannot be imported ({e})", hint="pip install 'bakehouse[curate]'"
        ) from e
