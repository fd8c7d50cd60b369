"""The axes of a grid: one table row for each setting that can vary, and the parser of its values."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.generation.model_source import ModelSource
from bakehouse.generation.request import ImageRequest
from bakehouse.generation.run_weights import epoch_weights, run_weights


@dataclass(frozen=True)
class GridCell:
    """The settings of one image in a grid."""

    request: ImageRequest
    weights: str | None = None
    """An adapter or model in place of the grid's own."""
    strength: float | None = None
    """The adapter's strength; None: the grid's own."""


Parse = Callable[[str, ModelSource], Any]
"""Parses one value."""
Apply = Callable[[GridCell, Any, tuple[Any, ...]], GridCell]
"""Returns a cell with a value applied; the last argument is all values of the axis."""
Defaults = Callable[[ModelSource, ImageRequest], Sequence[Any]]


def _number(kind: type[int] | type[float]) -> Parse:
    def parse(text: str, _: ModelSource) -> int | float:
        try:
            return kind(text)
        except ValueError as e:
            raise UsageError(f"{text!r} is not {'a whole number' if kind is int else 'a number'}") from e

    return parse


_WHOLE, _DECIMAL = _number(int), _number(float)


def _text_value(text: str, _: ModelSource) -> str:
    return text


def _epoch(text: str, source: ModelSource) -> str:
    """Return the path of an epoch's weights; `last` is the last epoch."""
    if source.run is None:
        raise UsageError(
            f"{source.title} is not a run, so it has no epochs",
            hint="pass a run folder as MODEL, or use the axis checkpoint",
        )
    found = epoch_weights(source.run)
    number = str(max(found)) if text == "last" else text.lstrip("0") or "0"
    if not number.isdigit() or int(number) not in found:
        raise UsageError(f"epoch {text}: {source.run.name} has {', '.join(map(str, found))}")
    return str(found[int(number)])


def _weights(text: str, source: ModelSource) -> str:
    """Return a path or a Hub id; the name of weights in the run becomes their path."""
    if source.run is not None:
        named = {p.stem if p.suffix == ".safetensors" else p.name: p for p in run_weights(source.run)}
        if text in named:
            return str(named[text])
    return text


def _size(text: str, _: ModelSource) -> str:
    if not re.fullmatch(r"\d+x\d+", text):
        raise UsageError(f"size {text!r}: write WIDTHxHEIGHT in pixels, as 512x768")
    return text


def _field(field: str) -> Apply:
    """Set a field of the request."""

    def apply(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
        return dataclasses.replace(cell, request=dataclasses.replace(cell.request, **{field: value}))

    return apply


def _apply_weights(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
    return dataclasses.replace(cell, weights=value)


def _apply_strength(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
    return dataclasses.replace(cell, strength=value)


def _apply_size(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
    width, height = map(int, value.split("x"))
    return dataclasses.replace(cell, request=dataclasses.replace(cell.request, width=width, height=height))


def _apply_replacement(cell: GridCell, value: Any, values: tuple[Any, ...]) -> GridCell:
    """A1111's Prompt S/R: the first value is replaced by each of the values."""
    r, term = cell.request, values[0]
    if term not in r.prompt and term not in r.negative:
        raise UsageError(f"replace: {term!r}, its first value, is not in the prompt {r.prompt!r}")
    changed = dataclasses.replace(r, prompt=r.prompt.replace(term, value), negative=r.negative.replace(term, value))
    return dataclasses.replace(cell, request=changed)


def _always(*values: Any) -> Defaults:
    return lambda source, request: values


def _no_default(source: ModelSource, request: ImageRequest) -> Sequence[Any]:
    return ()


def _all_epochs(source: ModelSource, request: ImageRequest) -> Sequence[Any]:
    return list(epoch_weights(source.run)) if source.run is not None else ["last"]


def _all_weights(source: ModelSource, request: ImageRequest) -> Sequence[Any]:
    return run_weights(source.run) if source.run is not None else ()


def _four_seeds(source: ModelSource, request: ImageRequest) -> Sequence[Any]:
    first = max(request.seed, 1)
    return range(first, first + 4)


@dataclass(frozen=True)
class AxisKind:
    """One row: how a value is parsed, what it sets, and its label."""

    name: str
    label: str
    """A1111's name for it, if it has one."""
    parse: Parse
    apply: Apply
    defaults: Defaults = _no_default
    bare: bool = False
    """Whether labels are the value alone, not `Seed: 1`."""

    @property
    def ranged(self) -> bool:
        """Whether `1-5` means five numbers."""
        return self.parse in (_WHOLE, _DECIMAL, _epoch)

    def value_label(self, text: str) -> str:
        """Return the label of a value."""
        if self.apply is _apply_weights and self.name != "epoch":
            text = Path(text).name.removesuffix(".safetensors").removesuffix(".ckpt")
        return text if self.bare else f"{self.label}: {text}"


AXES: dict[str, AxisKind] = {
    row.name: row
    for row in (
        # The values of both axes are applied in this order: `replace` comes after the axes that set a prompt.
        AxisKind("epoch", "Epoch", _epoch, _apply_weights, _all_epochs),
        AxisKind("checkpoint", "Checkpoint", _weights, _apply_weights, _all_weights, bare=True),
        AxisKind("adapter", "Adapter", _weights, _apply_weights, _all_weights, bare=True),
        AxisKind("model", "Checkpoint name", _weights, _apply_weights, bare=True),
        AxisKind("weight", "Weight", _DECIMAL, _apply_strength, _always(0.4, 0.6, 0.8, 1.0)),
        AxisKind("prompt", "Prompt", _text_value, _field("prompt"), bare=True),
        AxisKind("negative", "Negative prompt", _text_value, _field("negative")),
        AxisKind("replace", "Prompt S/R", _text_value, _apply_replacement, bare=True),
        AxisKind("seed", "Seed", _WHOLE, _field("seed"), _four_seeds),
        AxisKind("steps", "Steps", _WHOLE, _field("steps"), _always(10, 20, 30, 40)),
        AxisKind("guidance", "CFG Scale", _DECIMAL, _field("guidance"), _always(3.0, 5.0, 7.0, 9.0)),
        AxisKind("guidance_rescale", "CFG Rescale", _DECIMAL, _field("guidance_rescale"), _always(0.0, 0.35, 0.7)),
        AxisKind(
            "sampler",
            "Sampler",
            _text_value,
            _field("sampler"),
            _always("Euler a", "Euler", "DPM++ 2M", "DDIM"),
            bare=True,
        ),
        AxisKind(
            "schedule", "Schedule type", _text_value, _field("schedule"), _always("Uniform", "Karras", "Exponential")
        ),
        AxisKind("eta", "Eta", _DECIMAL, _field("eta"), _always(0.0, 0.5, 1.0)),
        AxisKind("variation_seed", "Var. seed", _WHOLE, _field("variation_seed")),
        AxisKind("variation_strength", "Var. strength", _DECIMAL, _field("variation_strength"), _always(0.1, 0.2, 0.3)),
        AxisKind("clip_skip", "Clip skip", _WHOLE, _field("clip_skip"), _always(1, 2)),
        AxisKind("size", "Size", _size, _apply_size),
    )
}


@dataclass(frozen=True)
class Axis:
    """A kind of axis and its values, as text and parsed."""

    kind: AxisKind
    texts: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.kind.value_label(text) for text in self.texts)

    def apply(self, cell: GridCell, i: int) -> GridCell:
        """Return the cell with the i-th value applied."""
        return self.kind.apply(cell, self.values[i], self.values)

    def __str__(self) -> str:
        """Return the text that `parse_axis` reads."""
        return f"{self.kind.name}={join_values(self.texts)}"


def make_axis(name: str, values: Sequence[Any] | None, source: ModelSource, request: ImageRequest) -> Axis:
    """Return an axis of values.

    Args:
        name: a row of `AXES`.
        values: None: the default of this kind of axis, such as all epochs of a run.
        source: the grid's model.
        request: the settings that the grid varies.

    Raises:
        UsageError: an unknown axis, an invalid value, or no values.
    """
    kind = AXES.get(name.strip().lower())
    if kind is None:
        raise UsageError(f"axis {name!r}: unknown{did_you_mean(name, AXES)}", hint=f"allowed are {', '.join(AXES)}")
    texts = tuple(_text(v) for v in (kind.defaults(source, request) if values is None else values))
    if not texts:
        raise UsageError(
            f"axis {kind.name} needs values", hint=f"write {kind.name}=first,second (quote values that contain commas)"
        )
    try:
        return Axis(kind, texts, tuple(kind.parse(text, source) for text in texts))
    except UsageError as e:
        raise UsageError(f"axis {kind.name}: {e.message}", hint=e.hint) from e


def parse_axis(text: str, source: ModelSource, request: ImageRequest) -> Axis:
    """Parse an axis: `epoch`, `weight=0.4,0.6`, `prompt="a cat, red",a dog`, `prompt=@file.txt`.

    Numbers may be ranges, as in A1111: `1-5`, `1-5 (+2)`, `10-0 (-2)`, `1-10 [5]` (five values, evenly spaced).

    Raises:
        UsageError: see `make_axis`; or the file of values cannot be read.
    """
    name, equals, written = text.partition("=")
    if not equals:
        return make_axis(name, None, source, request)
    kind = AXES.get(name.strip().lower())
    return make_axis(name, _values(written.strip(), ranged=kind is not None and kind.ranged), source, request)


def join_values(texts: Sequence[str]) -> str:
    """Join values with commas; values that contain commas are quoted."""
    return ", ".join('"' + t.replace('"', '""') + '"' if any(c in t for c in ',"') else t for t in texts)


_RANGE = re.compile(r"(-?[\d.]+)\s*-\s*(-?[\d.]+)(?:\s*\(([+-][\d.]+)\s*\)|\s*\[(\d+)\s*\])?")


def _values(written: str, *, ranged: bool) -> list[str]:
    if written.startswith("@"):
        return _lines(Path(written[1:]))
    parts = [p.strip() for row in csv.reader([written], skipinitialspace=True) for p in row]
    found: list[str] = []
    for part in filter(None, parts):
        match = _RANGE.fullmatch(part) if ranged else None
        found.extend(_range_values(match) if match else [part])
    return found


def _range_values(match: re.Match[str]) -> list[str]:
    """Return the numbers of a range, both ends included."""
    first, last = float(match[1]), float(match[2])
    whole = "." not in match[0]
    if match[4]:
        count = int(match[4])
        numbers = [first + (last - first) * i / max(1, count - 1) for i in range(count)]
        numbers = [float(round(n)) for n in numbers] if whole else numbers
    else:
        step = float(match[3] or (1 if last >= first else -1))
        if step == 0 or (last - first) * step < 0:
            raise UsageError(f"range {match[0]!r}: a step of {step:g} does not lead from {first:g} to {last:g}")
        # Half a step's tolerance against the rounding of 0.1 + 0.1 + 0.1.
        numbers = [first + i * step for i in range(int((last - first) / step + 1e-9) + 1)]
    return [_text(n) for n in numbers]


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"cannot read {path}: {e}", hint="a file of values has one value per line") from e


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{round(value, 8):.8f}".rstrip("0").rstrip(".")
    return str(value)
