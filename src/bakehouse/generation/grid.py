"""Grids: the same picture with one or two things varied, drawn as A1111's X/Y plot, and resumed where they stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event, Progress
from bakehouse.core.files import key_of
from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.generation.adapter_header import tensor_hash
from bakehouse.generation.contact_sheet import draw_grid
from bakehouse.generation.grid_axes import AXES, Axis, AxisKind, Cell, joined, make_axis, parse_axis
from bakehouse.generation.infotext import read, read_text, write
from bakehouse.generation.model_source import Source, resolve, swapped
from bakehouse.generation.request import RANDOM_SEED, Request

if TYPE_CHECKING:
    from bakehouse.generation.pipeline import Studio

__all__ = [
    "AXES",
    "Axis",
    "Cell",
    "Drawn",
    "Grid",
    "GridRecipe",
    "draw_grid",
    "make_axis",
    "make_grid",
    "parse_axis",
    "read_recipe",
]

RECIPE_CHUNK = "bakehouse-grid"
"""The PNG text chunk from which a grid can be made again."""
CELLS = "cells"
"""The folder beside the grid in which its pictures lie, by content."""

Caption = Callable[[Image.Image, Cell], str]
"""A few words under a cell, such as a score."""


@dataclass(frozen=True, kw_only=True)
class Drawn(Event):
    """A grid was written."""

    path: str
    made: int
    """Pictures made now; the others were there."""
    reused: int


@dataclass(frozen=True)
class GridRecipe:
    """What a grid is made of, as text: `make_grid(r.model, r.x, r.y, r.request, out)` makes it again."""

    model: str
    x: str
    y: str
    request: Request
    base: str = ""
    """The model's base, where it was an adapter's file."""

    def to_json(self) -> str:
        """As it is kept in the grid's PNG."""
        return json.dumps({"version": 1, **dataclasses.asdict(self)}, ensure_ascii=False)


@dataclass(frozen=True)
class Grid:
    """A grid on disk."""

    path: Path
    recipe: GridRecipe
    x_labels: tuple[str, ...]
    y_labels: tuple[str, ...]
    cells: tuple[tuple[Path, ...], ...]
    """Rows of pictures."""


@dataclass(frozen=True)
class _Place:
    """A cell and the file that its content names."""

    cell: Cell
    path: Path


_NOTHING = Axis(
    AxisKind("", "Nothing", lambda text, source: text, lambda cell, value, values: cell, bare=True), ("",), ("",)
)


def make_grid(
    model: Studio | Source | str | Path,
    x: Axis | str,
    y: Axis | str | None,
    request: Request,
    out: Path | str,
    *,
    title: str | None = None,
    caption: Caption | None = None,
    batch: int | None = None,
    **opening: Any,
) -> Generator[Event, None, Grid]:
    """Makes the pictures of a grid that are not there yet and draws all of them into `out/grid.png`.

    Args:
        model: an open studio (left as it was), or MODEL, which is opened only if a picture is missing.
        x: what the columns vary: an axis or its text (`epoch`, `weight=0.4,0.8`; see `axes.parse_axis`).
        y: what the rows vary; None: one row.
        request: the rest. A grid compares, so a seed of -1 is 1, and `count` must be 1.
        out: a folder; pictures are kept in `out/cells`.
        title: over the grid. Left out: the model's name and the prompt.
        caption: says what stands under each picture.
        batch: see `Studio.pictures`.
        opening: device, dtype, adapters, base: for `Studio.open`.

    Yields:
        `Progress("pictures", done, total)` after each, and `Drawn` at the end. The generator's value is the `Grid`.

    Raises:
        UsageError: both axes vary the same; a value that cannot be; a weight without an adapter;
            all of them before any picture is made.
    """
    if request.count != 1:
        raise UsageError(
            f"count = {request.count}: a grid shows one picture in each cell", hint="use the axis seed=1-4"
        )
    source = _source_of(model, opening.get("base"))
    request = replace(request, seed=1 if request.seed == RANDOM_SEED else request.seed)
    axes = _as_axis(x, source, request), _as_axis(y, source, request)
    out = Path(out)
    table = _places(axes, source, _beside(model, opening), request, out / CELLS, _arithmetic(model, opening))
    flat = {place.path: place for row in table for place in row}
    missing = [place for place in flat.values() if not place.path.is_file()]

    done = len(flat) - len(missing)
    yield Progress(what="pictures", done=done, total=len(flat))
    if missing:
        with _opened(model, source, opening) as studio:
            for _ in _fill(studio, missing, batch):
                done += 1
                yield Progress(what="pictures", done=done, total=len(flat))

    grid = _draw(axes, table, source, request, out / "grid.png", title, caption)
    yield Drawn(path=str(grid.path), made=len(missing), reused=len(flat) - len(missing))
    return grid


def read_recipe(path: Path | str) -> GridRecipe:
    """What a grid's PNG was made of.

    Raises:
        BakehouseError: not a picture.
        UsageError: a picture that is no grid of ours.
    """
    text = read_text(path, RECIPE_CHUNK)
    if text is None:
        raise UsageError(
            f"{path} is no grid: it has no text chunk {RECIPE_CHUNK}",
            hint="only the .png that `bakehouse grid` wrote has",
        )
    try:
        value = parse_json(text)
        request = Request(**value["request"])
        return GridRecipe(value["model"], value["x"], value["y"], request, value.get("base", ""))
    except (ValueError, KeyError, TypeError) as e:
        raise BakehouseError(f"{path}: its grid recipe cannot be read: {e!r}") from e


def _source_of(model: Studio | Source | str | Path, base: Any) -> Source:
    if isinstance(model, Source):
        return model
    if isinstance(model, str | Path):
        return resolve(model, base=base)
    own = len(model.source.adapters)
    return replace(model.source, adapters=model.adapters[:own])


def _beside(model: Studio | Source | str | Path, opening: dict[str, Any]) -> list[tuple[Path, float]]:
    """Adapters that are on the model beside its own."""
    if isinstance(model, Source | str | Path):
        given = opening.get("adapters", ())
        return [(Path(a), 1.0) if isinstance(a, str | Path) else (Path(a[0]), float(a[1])) for a in given]
    return list(model.adapters[len(model.source.adapters) :])


def _arithmetic(model: Studio | Source | str | Path, opening: dict[str, Any]) -> str:
    """The precision that was asked for; an open studio has one."""
    if isinstance(model, Source | str | Path):
        return str(opening.get("dtype", "auto")).removeprefix("torch.")
    return str(model.denoiser.dtype).removeprefix("torch.")


def _as_axis(axis: Axis | str | None, source: Source, request: Request) -> Axis:
    if isinstance(axis, str):
        return parse_axis(axis, source, request) if axis else _NOTHING
    return axis or _NOTHING


def _places(
    axes: tuple[Axis, Axis],
    source: Source,
    beside: Sequence[tuple[Path, float]],
    request: Request,
    folder: Path,
    arithmetic: str = "auto",
) -> list[list[_Place]]:
    """Every cell, row by row, with its file.

    Raises:
        UsageError: see `make_grid`.
    """
    x, y = axes
    if x.kind.put is y.kind.put or x.kind.name == y.kind.name:
        raise UsageError(
            f"both axes, {x.kind.name} and {y.kind.name}, vary the same thing", hint="choose another for one of them"
        )
    if not x.values or not y.values:
        raise UsageError("an axis without values", hint="give each axis one value at least")
    rank = {name: i for i, name in enumerate(["", *AXES])}
    keys: dict[str | None, object] = {}

    def place(column: int, row: int) -> _Place:
        cell = Cell(request)
        for axis, i in sorted(((x, column), (y, row)), key=lambda pair: rank.get(pair[0].kind.name, len(rank))):
            cell = axis.put(cell, i)
        if cell.weights not in keys:
            keys[cell.weights] = _weights_key(
                source if cell.weights is None else swapped(source, cell.weights), cell, beside
            )
        fields = {**dataclasses.asdict(cell.request), "sampler": cell.request.sampler.lower()}
        return _Place(cell, folder / f"{key_of(keys[cell.weights], cell.weight, fields, arithmetic)[:32]}.png")

    return [[place(column, row) for column in range(len(x.values))] for row in range(len(y.values))]


def _weights_key(source: Source, cell: Cell, beside: Sequence[tuple[Path, float]]) -> object:
    """What decides the model's share of a picture, by content where that is cheap to read."""
    if cell.weight is not None and not source.adapters and not beside:
        raise UsageError(
            f"{source.title} has no adapter, so there is no weight to vary", hint="name a run or an adapter's file"
        )
    adapters = [(tensor_hash(path), weight) for path, weight in (*source.adapters, *beside)]
    schedule = source.prediction, source.zero_terminal_snr
    return [_base_key(source.base), _base_key(source.vae or ""), schedule, source.clip_skip, adapters]


def _base_key(ref: str) -> object:
    """A base model's files by size and time of change (they are gigabytes); a Hub id by its name."""
    from bakehouse.models.crumb import crumb_folder

    path = crumb_folder() if ref == "crumb" else Path(ref).expanduser()
    if not ref or not path.exists():
        return ref
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]


@contextlib.contextmanager
def _opened(
    model: Studio | Source | str | Path, source: Source, opening: dict[str, Any]
) -> Generator[Studio, None, None]:
    from bakehouse.generation.pipeline import Studio

    if isinstance(model, Studio):
        with model.restoring():
            yield model
        return
    with Studio.open(source, **{k: v for k, v in opening.items() if k != "base"}) as studio:
        yield studio


def _fill(studio: Studio, missing: Sequence[_Place], batch: int | None) -> Generator[None, None, None]:
    """Makes the pictures that are not there: weights change least often, then their strength, then the rest."""
    weights = list(dict.fromkeys(place.cell.weights for place in missing))
    order = sorted(missing, key=lambda p: (weights.index(p.cell.weights), p.cell.weight or 0.0, _alike(p.cell.request)))
    for (ref, weight), group in itertools.groupby(order, key=lambda p: (p.cell.weights, p.cell.weight)):
        places = list(group)
        if ref is not None:
            studio.swap(ref)
        with studio.adapters_at(*([] if weight is None else [weight])):
            pictures = studio.pictures([place.cell.request for place in places], batch=batch)
            for place, picture in zip(places, pictures, strict=True):
                write(picture.image, picture.infotext, place.path)
                yield


def _alike(r: Request) -> tuple[Any, ...]:
    """Puts requests that can share a batch beside each other."""
    size, guidance = (r.width or 0, r.height or 0), (r.guidance or 0, r.guidance_rescale)
    return *size, r.clip_skip or 0, r.steps, *guidance, r.sampler, len(r.prompt) // 300


def _draw(
    axes: tuple[Axis, Axis],
    table: list[list[_Place]],
    source: Source,
    request: Request,
    path: Path,
    title: str | None,
    caption: Caption | None,
) -> Grid:
    x, y = axes
    cells = tuple(tuple(place.path for place in row) for row in table)
    pictures = [[_loaded(p) for p in row] for row in cells]
    captions = None
    if caption is not None:
        captions = [
            [caption(image, p.cell) for image, p in zip(*pair, strict=True)]
            for pair in zip(pictures, table, strict=True)
        ]
    page = draw_grid(
        pictures, x.labels, y.labels, _title(axes, source, request) if title is None else title, captions=captions
    )
    recipe = GridRecipe(
        source.ref or source.title, _written(x), _written(y), request, source.base if source.adapters else ""
    )
    info = read(cells[0][0])
    if info is not None:
        script: dict[str, str] = {"Script": "X/Y/Z plot"}
        for letter, axis in (("X", x), ("Y", y)):
            if axis is not _NOTHING:
                script |= {f"{letter} Type": axis.kind.label, f"{letter} Values": joined(axis.texts)}
        info = info.with_settings(script)
    write(page, info or "", path, chunks={RECIPE_CHUNK: recipe.to_json()})
    return Grid(path, recipe, x.labels, y.labels, cells)


def _written(axis: Axis) -> str:
    return "" if axis is _NOTHING else str(axis)


def _title(axes: tuple[Axis, Axis], source: Source, request: Request) -> str:
    named = {axis.kind.name for axis in axes}
    return source.title if named & {"prompt", "replace"} else f"{source.title}\n{request.prompt}"


def _loaded(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as e:
        raise BakehouseError(f"cannot read {path}: {e}", hint="remove it; the same command makes it again") from e
