"""One axis for every field of an image request whose value can be written as text: made from the fields' own types.

A new field of `ImageRequest`, or of the parts that it may have (an image to begin from, its mask, a second pass), is
an axis without a line here. The tables below only give A1111's names and the values of an axis without values.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.generation.grids.axis_kind import AxisKind, Defaults, Parse, always, no_default
from bakehouse.generation.grids.cells import GridCell
from bakehouse.generation.img2img_settings import Extend, FromImage, Hires, Inpaint
from bakehouse.generation.model_source import ModelSource
from bakehouse.generation.regions import Regions
from bakehouse.generation.request import ImageRequest

NOT_VARIED: Mapping[str, str] = {"count": "a grid has one image per cell"}
"""Fields that are no axis although their type would do, and why."""
NONE = "none"
"""The value of a field that is not set."""

_LABELS = {
    "steps": "Steps", "guidance": "CFG Scale", "guidance_rescale": "CFG Rescale", "schedule": "Schedule type",
    "variation_seed": "Var. seed", "variation_strength": "Var. strength", "strength": "Denoising", "rng": "RNG source",
    "upscaler": "Hires upscaler", "negative": "Negative prompt",
    "ensd": "ENSD", "hires": "Hires upscale", "hires_strength": "Hires denoising",
}  # fmt: skip
"""A1111's names where they are not the field's own."""
_FILES = ("image", "mask")
"""Axes of files, whose labels are the file's name."""
_BARE = ("prompt", "sampler", *_FILES)
"""Axes whose labels are the value alone."""
_DEFAULTS: Mapping[str, Defaults] = {
    "seed": lambda source, request: range(max(request.seed, 1), max(request.seed, 1) + 4),
    "steps": always(10, 20, 30, 40),
    "guidance": always(3.0, 5.0, 7.0, 9.0),
    "guidance_rescale": always(0.0, 0.35, 0.7),
    "sampler": always("Euler a", "Euler", "DPM++ 2M", "DDIM"),
    "schedule": always("Uniform", "Karras", "Exponential"),
    "eta": always(0.0, 0.5, 1.0),
    "variation_strength": always(0.1, 0.2, 0.3),
    "clip_skip": always(1, 2),
    "strength": always(0.25, 0.5, 0.75),
    "hires": always(NONE, 1.5, 2.0),
    "hires_strength": always(0.3, 0.5, 0.7),
}
"""Values of an axis without values; a switch or a choice has all of its own."""
_PARTS: Mapping[str, tuple[type, str, str]] = {
    "image": (FromImage, "image", "--image FILE"),
    "inpaint": (Inpaint, "mask", "--mask FILE"),
    "hires": (Hires, "scale", "--hires TIMES"),
}
"""The parts of a request by field: their class, the field that brings the part about, and the option for it."""
PART_NAMES = {
    ("image", "image"): "image", ("image", "strength"): "strength", ("image", "resize"): "resize",
    ("image", "extend"): "extend", ("inpaint", "mask"): "mask", ("inpaint", "invert"): "invert_mask",
    ("inpaint", "blur"): "mask_blur", ("inpaint", "content"): "masked_content", ("inpaint", "area"): "masked_area",
    ("inpaint", "padding"): "padding", ("hires", "scale"): "hires", ("hires", "upscaler"): "upscaler",
}  # fmt: skip
"""Names of parts' fields as the command line has them; others are PART_FIELD, such as hires_steps."""
_TEXTS = ("prompt", "negative")


def request_axes() -> Iterator[AxisKind]:
    """Yield an axis for each field of a request and its parts; the prompts come last."""
    hints = typing.get_type_hints(ImageRequest)
    fields = [f.name for f in dataclasses.fields(ImageRequest) if f.name not in NOT_VARIED]
    for name in sorted(fields, key=_TEXTS.__contains__):
        if name in _PARTS:
            yield from _part_axes(name)
        elif (parse := _parser(name, hints[name])) is not None:
            yield _kind(name, hints[name], parse, _field(name), frozenset({name}))
        elif name == "regions":
            yield from _region_axes()
        if name == "height":
            yield AxisKind(
                "size", "Size", _size, _apply_size, sets=frozenset({"width", "height"}), takes="WIDTHxHEIGHT"
            )


def _part_axes(part: str) -> Iterator[AxisKind]:
    made, creator, _ = _PARTS[part]
    hints = typing.get_type_hints(made)
    # What brings the part about is applied before what varies it.
    for field in sorted(hints, key=lambda field: field != creator):
        name = PART_NAMES.get((part, field), f"{part}_{field}")
        # `none` as the value of a creator is an image without the part.
        hint = hints[field] | None if field == creator else hints[field]
        if (parse := _parser(name, hint)) is not None:
            yield _kind(name, hint, parse, _part_field(part, field, name), frozenset({name}))


def _region_axes() -> Iterator[AxisKind]:
    """Yield the axes of regions: how they are mixed, and last whether there are any."""
    for name, label, *values in (
        ("region_base", "Region base", 0.0, 0.1, 0.3),
        ("region_edge", "Region edge", 0.0, 3.0),
    ):
        field = name.removeprefix("region_")
        default, sets = always(*values), frozenset({name})
        yield AxisKind(
            name, label, number(float), _region_field(field, name), default, False, "decimal", sets, "numbers"
        )
    off_and_on = always("no", "yes")
    yield AxisKind("regions", "Regions", _switch, _regions, off_and_on, sets=frozenset({"regions"}), takes="yes, no")


def _region_field(field: str, name: str) -> Any:
    def apply(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
        regions = dataclasses.replace(_given_regions(cell, name), **{field: value})
        return dataclasses.replace(cell, request=dataclasses.replace(cell.request, regions=regions))

    return apply


def _regions(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
    """Leave the regions of the request, or take them away."""
    given = _given_regions(cell, "regions")
    return dataclasses.replace(cell, request=dataclasses.replace(cell.request, regions=given if value else None))


def _given_regions(cell: GridCell, name: str) -> Regions:
    if cell.request.regions is None:
        raise UsageError(
            f"{name} has no effect without --region", hint='add --region "left: PROMPT", or leave out the axis'
        )
    return cell.request.regions


def _kind(name: str, hint: Any, parse: Parse, apply: Any, sets: frozenset[str]) -> AxisKind:
    label = _LABELS.get(name, name.replace("_", " ").capitalize())
    plain, _ = _without_none(hint)
    ranged: Literal["whole", "decimal"] | None = "whole" if plain is int else "decimal" if plain is float else None
    choices = ("no", "yes") if plain is bool else typing.get_args(plain) if _is_choice(plain) else ()
    default = _DEFAULTS.get(name, always(*choices) if choices else no_default)
    return AxisKind(name, label, parse, apply, default, name in _BARE, ranged, sets, _takes(hint), name in _FILES)


def _takes(hint: Any) -> str:
    """Return the values of a type in words."""
    plain, optional = _without_none(hint)
    named = {int: "whole numbers", float: "numbers", bool: "yes, no", str: "words", Extend: "SIDE=PIXELS,..."}
    if _is_choice(plain):
        values = ", ".join(typing.get_args(plain))
    elif plain == tuple[int, int]:
        values = "WIDTHxHEIGHT"
    else:
        values = named.get(plain, "files")
    return f"{values}, or {NONE}" if optional else values


def _field(field: str) -> Any:
    def apply(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
        return dataclasses.replace(cell, request=dataclasses.replace(cell.request, **{field: value}))

    return apply


def _part_field(part: str, field: str, name: str) -> Any:
    """Return what sets a field of a part; the creator's makes the part, or with None removes it."""
    made, creator, option = _PARTS[part]

    def apply(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
        before = getattr(cell.request, part)
        after: Any
        if field == creator and before is None:
            after = None if value is None else made(**{field: value})
        elif field == creator and value is None and part != "inpaint":
            after = None
        elif before is None:
            raise UsageError(f"{name} has no effect without {option}", hint=f"add {option}, or leave out the axis")
        else:
            after = dataclasses.replace(before, **{field: value})
        return dataclasses.replace(cell, request=dataclasses.replace(cell.request, **{part: after}))

    return apply


def _parser(name: str, hint: Any) -> Parse | None:
    """Return what reads a field's value; None for a type that has no text."""
    plain, optional = _without_none(hint)
    read = _reader(name, plain)
    if read is None or not optional:
        return read

    def parse(text: str, source: ModelSource) -> Any:
        return None if text.lower() == NONE else read(text, source)

    return parse


def _reader(name: str, plain: Any) -> Parse | None:
    if name == "sampler":
        return _sampler
    if name in ("seed", "variation_seed"):
        return _seed
    if name == "schedule":
        return _schedule
    if plain in (int, float):
        return number(plain)
    if plain is bool:
        return _switch
    if plain is str:
        return lambda text, source: text
    if plain is Extend:
        return lambda text, source: Extend.parse(text)
    if plain == tuple[int, int]:
        return lambda text, source: _sides(text)
    if _is_choice(plain):
        return _choice(typing.get_args(plain))
    if Image.Image in typing.get_args(plain):
        return _file
    return None


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether None was allowed."""
    if not (isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union):
        return hint, False
    parts = typing.get_args(hint)
    rest = tuple(part for part in parts if part is not type(None))
    return (rest[0] if len(rest) == 1 else typing.Union[rest]), len(rest) < len(parts)  # noqa: UP007


def _is_choice(hint: Any) -> bool:
    return typing.get_origin(hint) is Literal


def number(kind: type[int] | type[float]) -> Parse:
    """Return what reads a number."""

    def parse(text: str, _: ModelSource) -> int | float:
        try:
            value = kind(text)
        except ValueError as e:
            raise UsageError(f"{text!r} is not {'a whole number' if kind is int else 'a number'}") from e
        if not math.isfinite(value):
            raise UsageError(f"{text!r}: must be finite")
        return value

    return parse


def _seed(text: str, source: ModelSource) -> int:
    seed: int = number(int)(text, source)
    if seed < 0:
        raise UsageError(f"{text}: a random seed could not be made again", hint="give seeds of 0 or more")
    return seed


def _switch(text: str, _: ModelSource) -> bool:
    if text.lower() not in ("yes", "no", "true", "false"):
        raise UsageError(f"{text!r}: allowed are yes and no")
    return text.lower() in ("yes", "true")


def _choice(allowed: tuple[str, ...]) -> Parse:
    def parse(text: str, _: ModelSource) -> str:
        if text not in allowed:
            raise UsageError(
                f"{text!r}: unknown{did_you_mean(text, allowed)}", hint=f"allowed are {', '.join(allowed)}"
            )
        return text

    return parse


def _sampler(text: str, _: ModelSource) -> str:
    from bakehouse.models.samplers import find_sampler

    find_sampler(text)
    return text


def _schedule(text: str, _: ModelSource) -> str:
    from bakehouse.models.sigma_schedules import find_schedule

    find_schedule(text)
    return text


def _file(text: str, _: ModelSource) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise UsageError(f"{text}: there is no such file")
    return path


def _sides(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None:
        raise UsageError(f"size {text!r}: write WIDTHxHEIGHT in pixels, as 512x768")
    return int(found[1]), int(found[2])


def _size(text: str, _: ModelSource) -> tuple[int, int]:
    return _sides(text)


def _apply_size(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
    width, height = value
    return dataclasses.replace(cell, request=dataclasses.replace(cell.request, width=width, height=height))
