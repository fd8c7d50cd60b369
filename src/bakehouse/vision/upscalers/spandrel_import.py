"""Import spandrel, which detects an upscaler's architecture from its weights, without requiring torchvision.

spandrel imports torchvision when it is imported, but only one inpainter and one face restorer use it. Installing
torchvision instead is no remedy: pip brings a build for CUDA, a build for another PyTorch fails when it is imported
(the most common way that installations break), and no upscaler needs it. So if torchvision is missing or broken,
empty modules take its place while spandrel is imported, and are removed afterwards. `_FUNCTIONS` names what spandrel
imports from it; the tests of upscalers fail if a new version of spandrel needs more.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from bakehouse.core.optional_imports import import_optional

_FUNCTIONS = "torchvision.transforms.functional"


def import_spandrel() -> Any:
    """Return the module `spandrel`.

    Raises:
        UsageError: spandrel is not installed.
    """
    if "spandrel" in sys.modules or _has_torchvision():
        return import_optional("spandrel", "running upscalers")
    names = [_FUNCTIONS.rsplit(".", i)[0] for i in (2, 1, 0)]
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "torchvision"}
    try:
        sys.modules.update({name: types.ModuleType(name) for name in names})
        vars(sys.modules[_FUNCTIONS]).update(InterpolationMode=_Missing, rotate=_missing, normalize=_missing)
        return import_optional("spandrel", "running upscalers")
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def _has_torchvision() -> bool:
    try:
        import torchvision.transforms.functional  # noqa: F401
    except (ImportError, RuntimeError, OSError):  # a build for another PyTorch raises any of these
        return False
    return True


class _Missing:
    """Placeholder for `InterpolationMode`."""

    NEAREST = BILINEAR = BICUBIC = None


def _missing(*_: object, **__: object) -> None:
    raise RuntimeError("this architecture needs torchvision, which is missing or built for another PyTorch")
