"""Image requests as JSON: the form in which a grid keeps the request that it varies."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.generation.request import ImageRequest


def request_to_json(request: ImageRequest) -> dict[str, Any]:
    """Return all fields of a request as JSON can hold them; files are paths.

    Raises:
        UsageError: an image or mask in memory, which has no path.
    """
    return {f.name: _to_json(getattr(request, f.name), f.name) for f in dataclasses.fields(request)}


def request_from_json(value: Mapping[str, Any]) -> ImageRequest:
    """Return the request that `request_to_json` gave.

    Raises:
        Problems: values out of range.
        TypeError: a field that this version does not know, or a value of another form.
    """
    made: ImageRequest = _from_json(ImageRequest, value)
    return made


def source_files(request: ImageRequest) -> list[Path]:
    """Return the files that an image is made from: the source image, its mask, and the masks of regions."""
    image = request.image and request.image.image
    mask = request.inpaint and request.inpaint.mask
    of_regions = [region.mask for region in request.regions.regions] if request.regions else []
    return [Path(file) for file in (image, mask, *of_regions) if isinstance(file, str | Path) and str(file)]


def _to_json(value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _to_json(getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_to_json(item, name) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise UsageError(
        f"{name} is in memory ({type(value).__name__}), so it cannot be written down", hint="save it and pass its path"
    )


def _from_json(hint: Any, value: Any) -> Any:
    """Return a value of a field's type: dataclasses and tuples are made again, all else is as JSON has it."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        hints = [part for part in typing.get_args(hint) if part is not type(None)]
        made = [part for part in hints if dataclasses.is_dataclass(part) or typing.get_origin(part) is tuple]
        return _from_json(made[0], value) if made and isinstance(value, Mapping | list) else value
    if dataclasses.is_dataclass(hint):
        known = typing.get_type_hints(hint)
        if unknown := value.keys() - known.keys():
            raise TypeError(f"{hint} has no {', '.join(sorted(unknown))}")
        return hint(**{name: _from_json(known[name], item) for name, item in value.items()})  # type: ignore[operator]
    if typing.get_origin(hint) is tuple:
        item_hint, *_ = typing.get_args(hint)
        return tuple(_from_json(item_hint, item) for item in value)
    return value
