"""Grids: images that differ in one or two settings, on a sheet like A1111's X/Y plot. Interrupted grids resume."""

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
from bakehouse.core.files import key_of, sha256_file
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.generation.adapter_header import tensor_hash
from bakehouse.generation.contact_sheet import draw_grid
from bakehouse.generation.grid_axes import AXES, Axis, AxisKind, GridCell, join_values, make_axis, parse_axis
from bakehouse.generation.infotext import read, read_text, write
from bakehouse.generation.model_source import ModelSource, replace_weights, resolve
from bakehouse.generation.prompt import compile_prompt
from bakehouse.generation.prompt_files import NO_FILES, PromptFiles
from bakehouse.generation.request import RANDOM_SEED, ImageRequest

if TYPE_CHECKING:
    from bakehouse.generation.pipeline import Pipeline

__all__ = [
    "AXES",
    "Axis",
    "Drawn",
    "Grid",
    "GridCell",
    "GridRecipe",
    "draw_grid",
    "make_axis",
    "make_grid",
    "parse_axis",
    "read_recipe",
]

RECIPE_CHUNK = "bakehouse-grid"
"""The PNG text chunk that holds a grid's recipe."""
CELLS = "cells"
"""The folder of a grid's images, each named by the hash of all that decides it."""

Caption = Callable[[Image.Image, GridCell], str]
"""Returns the text under an image, such as a score."""


@dataclass(frozen=True, kw_only=True)
class Drawn(Event):
    """A grid was saved."""

    path: str
    made: int
    """Images generated now; the others existed."""
    reused: int


@dataclass(frozen=True)
class GridRecipe:
    """A grid's inputs as text: `make_grid(r.model, r.x, r.y, r.request, out)` makes it again."""

    model: str
    x: str
    y: str
    request: ImageRequest
    base: str = ""
    """The base of a model that is an adapter's file."""

    def to_json(self) -> str:
        """Return the text that is saved in the grid's PNG."""
        return json.dumps(
            {"version": 1, **dataclasses.asdict(self), "request": self.request.words()}, ensure_ascii=False
        )


@dataclass(frozen=True)
class Grid:
    """A grid that is saved."""

    path: Path
    recipe: GridRecipe
    x_labels: tuple[str, ...]
    y_labels: tuple[str, ...]
    cells: tuple[tuple[Path, ...], ...]
    """Image files, row by row."""


@dataclass(frozen=True)
class _CellFile:
    """A cell and its image file."""

    cell: GridCell
    path: Path


_NO_AXIS = Axis(
    AxisKind("", "Nothing", lambda text, source: text, lambda cell, value, values: cell, bare=True), ("",), ("",)
)


def make_grid(
    model: Pipeline | ModelSource | str | Path,
    x: Axis | str,
    y: Axis | str | None,
    request: ImageRequest,
    out: Path | str,
    *,
    title: str | None = None,
    caption: Caption | None = None,
    batch: int | None = None,
    **opening: Any,
) -> Generator[Event, None, Grid]:
    """Generate the images of a grid that do not exist yet, and save the sheet as `out/grid.png`.

    Args:
        model: an open pipeline (restored afterwards), or MODEL, which is opened only if an image is missing.
        x: the axis of the columns, or its text (`epoch`, `weight=0.4,0.8`; see `grid_axes.parse_axis`).
        y: the axis of the rows; None: one row.
        request: all other settings. A seed or variation seed of -1 becomes 1, so that images can be compared; `count`
            must be 1.
        out: a folder; images are saved in `out/cells`.
        title: heading of the grid. Default: the model's name and the prompt.
        caption: returns the text under each image.
        batch: see `Pipeline.generate`.
        opening: device, dtype, adapters, base, loras and embeddings, for `Pipeline.open`.

    Yields:
        `Progress("images", done, total)` after each, and `Drawn` at the end. The generator's value is the `Grid`.

    Raises:
        UsageError: both axes vary the same setting, an invalid value, a strength without an adapter, or a request with
            an image or a second pass; raised before any image is generated.
    """
    if request.count != 1:
        raise UsageError(f"count = {request.count}: a grid has one image per cell", hint="use the axis seed=1-4")
    if not request.from_words_alone:
        raise UsageError("a grid's images are made from words alone: leave out image, inpaint, hires and regions")
    source = _source_of(model, opening.get("base"))
    seed, variation = (1 if s == RANDOM_SEED else s for s in (request.seed, request.variation_seed))
    request = replace(request, seed=seed, variation_seed=variation)
    axes = _as_axis(x, source, request), _as_axis(y, source, request)
    out = Path(out)
    if isinstance(model, ModelSource | str | Path):
        files = PromptFiles(opening.get("loras"), opening.get("embeddings")).check()
    else:
        files = model.files
    table = _cell_files(
        axes, source, _added_adapters(model, opening), request, out / CELLS, _arithmetic(model, opening), files
    )
    flat = {place.path: place for row in table for place in row}
    missing = [place for place in flat.values() if not place.path.is_file()]

    done = len(flat) - len(missing)
    yield Progress(what="images", done=done, total=len(flat))
    if missing:
        with _opened(model, source, opening) as pipeline:
            for _ in _generate_missing(pipeline, missing, batch):
                done += 1
                yield Progress(what="images", done=done, total=len(flat))

    grid = _draw(axes, table, source, request, out / "grid.png", title, caption)
    yield Drawn(path=str(grid.path), made=len(missing), reused=len(flat) - len(missing))
    return grid


def read_recipe(path: Path | str) -> GridRecipe:
    """Return the recipe in a grid's PNG.

    Raises:
        BakehouseError: not an image.
        UsageError: an image without a grid recipe.
    """
    text = read_text(path, RECIPE_CHUNK)
    if text is None:
        raise UsageError(
            f"{path} is not a grid: it has no text chunk {RECIPE_CHUNK}",
            hint="pass a grid.png that `bakehouse grid` saved",
        )
    try:
        value = parse_json(text)
        request = ImageRequest(**value["request"])
        return GridRecipe(value["model"], value["x"], value["y"], request, value.get("base", ""))
    except (ValueError, KeyError, TypeError) as e:
        raise BakehouseError(f"{path}: its grid recipe cannot be read: {e!r}") from e


def _source_of(model: Pipeline | ModelSource | str | Path, base: Any) -> ModelSource:
    if isinstance(model, ModelSource):
        return model
    if isinstance(model, str | Path):
        return resolve(model, base=base)
    own = len(model.source.adapters)
    return replace(model.source, adapters=model.adapters[:own])


def _added_adapters(model: Pipeline | ModelSource | str | Path, opening: dict[str, Any]) -> list[tuple[Path, float]]:
    """Return the adapters that were added to the model's own."""
    if isinstance(model, ModelSource | str | Path):
        given = opening.get("adapters", ())
        return [(Path(a), 1.0) if isinstance(a, str | Path) else (Path(a[0]), float(a[1])) for a in given]
    return list(model.adapters[len(model.source.adapters) :])


def _arithmetic(model: Pipeline | ModelSource | str | Path, opening: dict[str, Any]) -> str:
    """Return the requested precision; of an open pipeline, its own."""
    if isinstance(model, ModelSource | str | Path):
        return str(opening.get("dtype", "auto")).removeprefix("torch.")
    return str(model.denoiser.dtype).removeprefix("torch.")


def _as_axis(axis: Axis | str | None, source: ModelSource, request: ImageRequest) -> Axis:
    if isinstance(axis, str):
        return parse_axis(axis, source, request) if axis else _NO_AXIS
    return axis or _NO_AXIS


def _cell_files(
    axes: tuple[Axis, Axis],
    source: ModelSource,
    added: Sequence[tuple[Path, float]],
    request: ImageRequest,
    folder: Path,
    arithmetic: str = "auto",
    files: PromptFiles = NO_FILES,
) -> list[list[_CellFile]]:
    """Return every cell with its file, row by row.

    Raises:
        UsageError: see `make_grid`.
    """
    x, y = axes
    if x.kind.apply is y.kind.apply or x.kind.name == y.kind.name:
        raise UsageError(
            f"both axes, {x.kind.name} and {y.kind.name}, vary the same setting", hint="choose another for one of them"
        )
    if not x.values or not y.values:
        raise UsageError("an axis has no values", hint="give each axis at least one value")
    rank = {name: i for i, name in enumerate(["", *AXES])}
    keys: dict[str | None, object] = {}

    def place(column: int, row: int) -> _CellFile:
        cell = GridCell(request)
        for axis, i in sorted(((x, column), (y, row)), key=lambda pair: rank.get(pair[0].kind.name, len(rank))):
            cell = axis.apply(cell, i)
        if cell.weights not in keys:
            keys[cell.weights] = _weights_key(
                source if cell.weights is None else replace_weights(source, cell.weights), cell, added
            )
        fields = {**cell.request.words(), "sampler": cell.request.sampler.lower()}
        named = _named_files_key(cell.request, replace(source, adapters=(*source.adapters, *added)), files)
        key = key_of(keys[cell.weights], cell.strength, fields, arithmetic, *named)
        return _CellFile(cell, folder / f"{key[:32]}.png")

    return [[place(column, row) for column in range(len(x.values))] for row in range(len(y.values))]


def _weights_key(source: ModelSource, cell: GridCell, added: Sequence[tuple[Path, float]]) -> object:
    """Return what the model contributes to the cache key: adapters by content, base models by size and time."""
    if cell.strength is not None and not source.adapters and not added:
        raise UsageError(
            f"{source.title} has no adapter, so there is no strength to vary",
            hint="pass a run or an adapter's file as MODEL",
        )
    adapters = [(tensor_hash(path), weight) for path, weight in (*source.adapters, *added)]
    schedule = source.prediction, source.zero_terminal_snr
    return [_base_key(source.base), _base_key(source.vae or ""), schedule, source.clip_skip, adapters]


def _named_files_key(request: ImageRequest, source: ModelSource, files: PromptFiles) -> list[object]:
    """Return what the files that a prompt names contribute to the cache key: adapters by content, embeddings too."""
    if request.prompt_syntax == "plain":
        return []
    tags = compile_prompt(request.prompt, request.negative, steps=request.steps).adapters
    adapters = [files.find_adapter(tag.name, source) for tag in tags]
    text = f"{request.prompt} {request.negative}".casefold()
    named = [path for name, path in files.embedding_files().items() if name.casefold() in text]
    return [*(tensor_hash(path) for path in adapters if path), *(sha256_file(path) for path in named)]


def _base_key(ref: str) -> object:
    """Return a base model's files with size and time of change (they are gigabytes to hash); for a Hub id, the id."""
    from bakehouse.models.crumb import base_path

    path = base_path(ref)
    if not ref or not path.exists():
        return ref
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]


@contextlib.contextmanager
def _opened(
    model: Pipeline | ModelSource | str | Path, source: ModelSource, opening: dict[str, Any]
) -> Generator[Pipeline, None, None]:
    from bakehouse.generation.pipeline import Pipeline

    if isinstance(model, Pipeline):
        with model.restoring():
            yield model
        return
    with Pipeline.open(source, **{k: v for k, v in opening.items() if k != "base"}) as pipeline:
        yield pipeline


def _generate_missing(
    pipeline: Pipeline, missing: Sequence[_CellFile], batch: int | None
) -> Generator[None, None, None]:
    """Generate missing images, ordered so that weights change least often, then the strength, then the rest."""
    weights = list(dict.fromkeys(place.cell.weights for place in missing))
    order = sorted(
        missing, key=lambda p: (weights.index(p.cell.weights), p.cell.strength or 0.0, _batch_order(p.cell.request))
    )
    for (ref, strength), group in itertools.groupby(order, key=lambda p: (p.cell.weights, p.cell.strength)):
        places = list(group)
        if ref is not None:
            pipeline.swap(ref)
        with pipeline.adapter_strengths(*([] if strength is None else [strength])):
            made = pipeline.generate([place.cell.request for place in places], batch=batch)
            for place, generated in zip(places, made, strict=True):
                write(generated.image, generated.infotext, place.path)
                yield


def _batch_order(r: ImageRequest) -> tuple[Any, ...]:
    """Return a sort key that brings requests together that can share a batch."""
    size, guidance = (r.width or 0, r.height or 0), (r.guidance or 0, r.guidance_rescale)
    return *size, r.clip_skip or 0, r.steps, *guidance, r.sampler, len(r.prompt) // 300


def _draw(
    axes: tuple[Axis, Axis],
    table: list[list[_CellFile]],
    source: ModelSource,
    request: ImageRequest,
    path: Path,
    title: str | None,
    caption: Caption | None,
) -> Grid:
    x, y = axes
    cells = tuple(tuple(place.path for place in row) for row in table)
    images = [[_load_image(p) for p in row] for row in cells]
    captions = None
    if caption is not None:
        captions = [
            [caption(image, p.cell) for image, p in zip(*pair, strict=True)] for pair in zip(images, table, strict=True)
        ]
    page = draw_grid(
        images, x.labels, y.labels, _title(axes, source, request) if title is None else title, captions=captions
    )
    recipe = GridRecipe(
        source.ref or source.title, _axis_text(x), _axis_text(y), request, source.base if source.adapters else ""
    )
    info = read(cells[0][0])
    if info is not None:
        script: dict[str, str] = {"Script": "X/Y/Z plot"}
        for letter, axis in (("X", x), ("Y", y)):
            if axis is not _NO_AXIS:
                script |= {f"{letter} Type": axis.kind.label, f"{letter} Values": join_values(axis.texts)}
        info = info.with_settings(script)
    write(page, info or "", path, chunks={RECIPE_CHUNK: recipe.to_json()})
    return Grid(path, recipe, x.labels, y.labels, cells)


def _axis_text(axis: Axis) -> str:
    return "" if axis is _NO_AXIS else str(axis)


def _title(axes: tuple[Axis, Axis], source: ModelSource, request: ImageRequest) -> str:
    named = {axis.kind.name for axis in axes}
    return source.title if named & {"prompt", "replace"} else f"{source.title}\n{request.prompt}"


def _load_image(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as e:
        raise BakehouseError(f"cannot read {path}: {e}", hint="delete it and run the same command again") from e
