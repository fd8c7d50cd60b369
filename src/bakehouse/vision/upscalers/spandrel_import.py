"""spandrel, which knows the architecture of an upscaler by its weights. Here its needs are met."""

from __future__ import annotations

import sys
import types
from typing import Any

from bakehouse.core.optional_imports import import_optional

_FUNCTIONS = "torchvision.transforms.functional"


def spandrel() -> Any:
    """The module.

    It asks for torchvision at once, and uses it for one inpainter and one restorer of faces. A torchvision that is
    missing or made for another PyTorch (which is how it most often breaks) must not cost the upscalers, so it is stood
    in for while spandrel is imported, and nobody else sees that.

    Raises:
        UsageError: it is not installed.
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
    except (ImportError, RuntimeError, OSError):  # a build for another PyTorch fails in any of these ways
        return False
    return True


class _Missing:
    """Has every attribute, none of which can be used."""

    NEAREST = BILINEAR = BICUBIC = None


def _missing(*_: object, **__: object) -> None:
    raise RuntimeError("this architecture needs torchvision, which is missing or made for another PyTorch")
