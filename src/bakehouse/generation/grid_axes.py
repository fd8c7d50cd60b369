"""What a grid can vary: a table with one row for each kind of axis, and the reading of its values."""

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
class Cell:
    """What one place of a grid shows."""

    request: ImageRequest
    weights: str | None = None
    """An adapter or model in the place of the grid's own."""
    weight: float | None = None
    """The adapter's weight, where it is not the grid's own."""


Read = Callable[[str, ModelSource], Any]
"""One value from its text."""
Put = Callable[[Cell, Any, tuple[Any, ...]], Cell]
"""A cell with a value in its place; the last argument is all of the axis's values."""
Defaults = Callable[[ModelSource, ImageRequest], Sequence[Any]]


def _number(kind: type[int] | type[float]) -> Read:
    def read(text: str, _: ModelSource) -> int | float:
        try:
            return kind(text)
        except ValueError as e:
            raise UsageError(f"{text!r} is not {'a whole number' if kind is int else 'a number'}") from e

    return read


_WHOLE, _DECIMAL = _number(int), _number(float)


def _words(text: str, _: ModelSource) -> str:
    return text


def _epoch(text: str, source: ModelSource) -> str:
    """The path of an epoch's weights; `last` is the last one."""
    if source.run is None:
        raise UsageError(
            f"{source.title} is not a run, so it has no epochs", hint="name a run folder, or use the axis checkpoint"
        )
    there = epoch_weights(source.run)
    number = str(max(there)) if text == "last" else text.lstrip("0") or "0"
    if not number.isdigit() or int(number) not in there:
        raise UsageError(f"epoch {text}: {source.run.name} has {', '.join(map(str, there))}")
    return str(there[int(number)])


def _weights(text: str, source: ModelSource) -> str:
    """A path, a Hub id, or the name of weights in the run."""
    if source.run is not None:
        named = {p.stem if p.suffix == ".safetensors" else p.name: p for p in run_weights(source.run)}
        if text in named:
            return str(named[text])
    return text


def _size(text: str, _: ModelSource) -> str:
    if not re.fullmatch(r"\d+x\d+", text):
        raise UsageError(f"size {text!r}: write WIDTHxHEIGHT in pixels, as 512x768")
    return text


def _request(field: str) -> Put:
    """Puts the value into a field of the request."""

    def put(cell: Cell, value: Any, _: tuple[Any, ...]) -> Cell:
        return dataclasses.replace(cell, request=dataclasses.replace(cell.request, **{field: value}))

    return put


def _put_weights(cell: Cell, value: Any, _: tuple[Any, ...]) -> Cell:
    return dataclasses.replace(cell, weights=value)


def _put_weight(cell: Cell, value: Any, _: tuple[Any, ...]) -> Cell:
    return dataclasses.replace(cell, weight=value)


def _put_size(cell: Cell, value: Any, _: tuple[Any, ...]) -> Cell:
    width, height = map(int, value.split("x"))
    return dataclasses.replace(cell, request=dataclasses.replace(cell.request, width=width, height=height))


def _put_replaced(cell: Cell, value: Any, values: tuple[Any, ...]) -> Cell:
    """A1111's Prompt S/R: the first value is what is looked for."""
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
    """One row: how a value is read, where it goes, and what is shown."""

    name: str
    label: str
    """As A1111 calls it, where A1111 has it."""
    read: Read
    put: Put
    defaults: Defaults = _no_default
    bare: bool = False
    """Labels show the value alone, not `Seed: 1`."""

    @property
    def ranged(self) -> bool:
        """Whether `1-5` means five numbers."""
        return self.read in (_WHOLE, _DECIMAL, _epoch)

    def show(self, text: str) -> str:
        """The label of a value."""
        if self.put is _put_weights and self.name != "epoch":
            text = Path(text).name.removesuffix(".safetensors").removesuffix(".ckpt")
        return text if self.bare else f"{self.label}: {text}"


AXES: dict[str, AxisKind] = {
    row.name: row
    for row in (
        # In this order the values of both axes are put in: what replaces words comes behind what sets them.
        AxisKind("epoch", "Epoch", _epoch, _put_weights, _all_epochs),
        AxisKind("checkpoint", "Checkpoint", _weights, _put_weights, _all_weights, bare=True),
        AxisKind("adapter", "Adapter", _weights, _put_weights, _all_weights, bare=True),
        AxisKind("model", "Checkpoint name", _weights, _put_weights, bare=True),
        AxisKind("weight", "Weight", _DECIMAL, _put_weight, _always(0.4, 0.6, 0.8, 1.0)),
        AxisKind("prompt", "Prompt", _words, _request("prompt"), bare=True),
        AxisKind("negative", "Negative prompt", _words, _request("negative")),
        AxisKind("replace", "Prompt S/R", _words, _put_replaced, bare=True),
        AxisKind("seed", "Seed", _WHOLE, _request("seed"), _four_seeds),
        AxisKind("steps", "Steps", _WHOLE, _request("steps"), _always(10, 20, 30, 40)),
        AxisKind("guidance", "CFG Scale", _DECIMAL, _request("guidance"), _always(3.0, 5.0, 7.0, 9.0)),
        AxisKind("guidance_rescale", "CFG Rescale", _DECIMAL, _request("guidance_rescale"), _always(0.0, 0.35, 0.7)),
        AxisKind(
            "sampler",
            "Sampler",
            _words,
            _request("sampler"),
            _always("Euler a", "Euler", "DPM++ 2M", "DDIM"),
            bare=True,
        ),
        AxisKind("clip_skip", "Clip skip", _WHOLE, _request("clip_skip"), _always(1, 2)),
        AxisKind("size", "Size", _size, _put_size),
    )
}


@dataclass(frozen=True)
class Axis:
    """A kind and its values, both as written and as meant."""

    kind: AxisKind
    texts: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.kind.show(text) for text in self.texts)

    def put(self, cell: Cell, i: int) -> Cell:
        """The cell with the i-th value in its place."""
        return self.kind.put(cell, self.values[i], self.values)

    def __str__(self) -> str:
        """What `parse_axis` reads."""
        return f"{self.kind.name}={joined(self.texts)}"


def make_axis(name: str, values: Sequence[Any] | None, source: ModelSource, request: ImageRequest) -> Axis:
    """An axis from values.

    Args:
        name: a row of `AXES`.
        values: left out: the kind's own, such as all epochs of a run.
        source: what the grid is made of: knows the run.
        request: what the grid varies.

    Raises:
        UsageError: unknown axis, a value that it cannot mean, or no values.
    """
    kind = AXES.get(name.strip().lower())
    if kind is None:
        raise UsageError(f"axis {name!r}: unknown{did_you_mean(name, AXES)}", hint=f"allowed are {', '.join(AXES)}")
    texts = tuple(_text(v) for v in (kind.defaults(source, request) if values is None else values))
    if not texts:
        raise UsageError(
            f"axis {kind.name} needs values", hint=f"write {kind.name}=first,second (quotes around commas)"
        )
    try:
        return Axis(kind, texts, tuple(kind.read(text, source) for text in texts))
    except UsageError as e:
        raise UsageError(f"axis {kind.name}: {e.message}", hint=e.hint) from e


def parse_axis(text: str, source: ModelSource, request: ImageRequest) -> Axis:
    """An axis as it is written: `epoch`, `weight=0.4,0.6`, `prompt="a cat, red",a dog`, `prompt=@file.txt`.

    Numbers take A1111's ranges too: `1-5`, `1-5 (+2)`, `10-0 (-2)`, `1-10 [5]` (five values, evenly spaced).

    Raises:
        UsageError: see `make_axis`; or a file of values that cannot be read.
    """
    name, equals, written = text.partition("=")
    if not equals:
        return make_axis(name, None, source, request)
    kind = AXES.get(name.strip().lower())
    return make_axis(name, _values(written.strip(), ranged=kind is not None and kind.ranged), source, request)


def joined(texts: Sequence[str]) -> str:
    """Values with commas between them, in quotes where they hold commas themselves."""
    return ", ".join('"' + t.replace('"', '""') + '"' if any(c in t for c in ',"') else t for t in texts)


_RANGE = re.compile(r"(-?[\d.]+)\s*-\s*(-?[\d.]+)(?:\s*\(([+-][\d.]+)\s*\)|\s*\[(\d+)\s*\])?")


def _values(written: str, *, ranged: bool) -> list[str]:
    if written.startswith("@"):
        return _lines(Path(written[1:]))
    parts = [p.strip() for row in csv.reader([written], skipinitialspace=True) for p in row]
    found: list[str] = []
    for part in filter(None, parts):
        match = _RANGE.fullmatch(part) if ranged else None
        found.extend(_spread(match) if match else [part])
    return found


def _spread(match: re.Match[str]) -> list[str]:
    """The numbers of a range; its ends belong to it."""
    first, last = float(match[1]), float(match[2])
    whole = "." not in match[0]
    if match[4]:
        count = int(match[4])
        numbers = [first + (last - first) * i / max(1, count - 1) for i in range(count)]
        numbers = [float(round(n)) for n in numbers] if whole else numbers
    else:
        step = float(match[3] or (1 if last >= first else -1))
        if step == 0 or (last - first) * step < 0:
            raise UsageError(f"range {match[0]!r}: a step of {step:g} never comes from {first:g} to {last:g}")
        # Half a step's tolerance against the rounding of 0.1 + 0.1 + 0.1.
        numbers = [first + i * step for i in range(int((last - first) / step + 1e-9) + 1)]
    return [_text(n) for n in numbers]


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"cannot read {path}: {e}", hint="a file of values has one in each line") from e


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{round(value, 8):.8f}".rstrip("0").rstrip(".")
    return str(value)
