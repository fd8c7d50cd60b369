"""Importing optional dependencies; the error names the command that installs them."""

from __future__ import annotations

import importlib
from typing import Any

from bakehouse.core.errors import UsageError

_PACKAGES = {"cv2": "opencv-python-headless"}
"""Packages whose name differs from the module's."""


def import_optional(module: str, purpose: str) -> Any:
    """Import a module of the extra `curate` and return it.

    Args:
        module: `cv2`, `onnxruntime`, ...
        purpose: what it is for, completed by "needs": `finding text`.

    Raises:
        UsageError: it is not installed or cannot be imported; names the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as e:
        package = _PACKAGES.get(module, module)
        raise UsageError(
            f"{purpose} needs {package}, which cannot be imported ({e})", hint="pip install 'bakehouse[curate]'"
        ) from e
