"""Make grids: place the cells, generate the images that do not exist yet, and save them as a sheet and as a page."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Progress, Warned
from bakehouse.generation.grids.axes import NO_AXIS, RANK, Axis, check_together, parse_axis
from bakehouse.generation.grids.cells import Adapters, CellPlacer, GridCell, PlacedCell
from bakehouse.generation.grids.draw_cells import Failure, draw_cells, reason
from bakehouse.generation.grids.grid_recipe import GridRecipe
from bakehouse.generation.grids.save import DrawnCell, Grid, Scores, is_intact, save_grid
from bakehouse.generation.model_source import ModelSource, resolve
from bakehouse.generation.prompt_files import PromptFiles
from bakehouse.generation.request import RANDOM_SEED, ImageRequest
from bakehouse.generation.request_json import request_to_json

if TYPE_CHECKING:
    from bakehouse.generation.pipeline import Pipeline

CELLS = "cells"
"""The folder of a grid's images, each named by the hash of all that decides it."""
MAX_CELLS = 2_000
"""Beyond this the sheet cannot be read, and the values are probably a mistake."""
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True, kw_only=True)
class GridSaved(Event):
    """A grid was saved."""

    path: str
    """The sheet, a PNG."""
    page: str
    """The page in HTML."""
    made: int
    """Images generated now."""
    reused: int
    """Images that existed."""
    failed: int
    """Images that could not be generated; their cells are blank and say why."""


@dataclass(frozen=True)
class _Opening:
    """The model of a grid, open or to be opened when an image is missing."""

    model: Pipeline | ModelSource | str | Path
    source: ModelSource
    options: dict[str, Any]

    @classmethod
    def of(cls, model: Pipeline | ModelSource | str | Path, options: dict[str, Any]) -> _Opening:
        if isinstance(model, ModelSource):
            return cls(model, model, options)
        if isinstance(model, str | Path):
            return cls(model, resolve(model, base=options.get("base")), options)
        return cls(model, replace(model.source, adapters=model.adapters[: len(model.source.adapters)]), options)

    @property
    def added(self) -> Adapters:
        """The adapters that were added to the model's own."""
        if isinstance(self.model, ModelSource | str | Path):
            given = self.options.get("adapters", ())
            return tuple((Path(a), 1.0) if isinstance(a, str | Path) else (Path(a[0]), float(a[1])) for a in given)
        return self.model.adapters[len(self.source.adapters) :]

    @property
    def precision(self) -> str:
        """The requested precision; of an open pipeline, its own."""
        opened = not isinstance(self.model, ModelSource | str | Path)
        dtype = self.model.denoiser.dtype if opened else self.options.get("dtype", "auto")  # type: ignore[union-attr]
        return str(dtype).removeprefix("torch.")

    @property
    def files(self) -> PromptFiles:
        """Where to look for what prompts name."""
        if isinstance(self.model, ModelSource | str | Path):
            return PromptFiles(self.options.get("loras"), self.options.get("embeddings")).check()
        return self.model.files

    @contextlib.contextmanager
    def opened(self) -> Iterator[Pipeline]:
        """Give the pipeline, which is restored afterwards, or closed if it was opened here."""
        from bakehouse.generation.pipeline import Pipeline

        if isinstance(self.model, Pipeline):
            with self.model.restoring():
                yield self.model
            return
        options = {name: value for name, value in self.options.items() if name not in ("base", "adapters")}
        # Each group of cells puts on its own adapters.
        with Pipeline.open(replace(self.source, adapters=()), **options) as pipeline:
            yield pipeline

    def _given_base(self) -> str:
        """Return the base of an adapter; empty if MODEL is a run, which knows its own."""
        source = self.source
        of_run = source.run is not None and source.ref != "" and resolve(source.ref).base == source.base
        return source.base if source.adapters and not of_run else ""

    def recipe(self, axes: tuple[Axis, Axis, Axis], request: ImageRequest) -> GridRecipe:
        """Return what the grid is made of, as text."""
        x, y, z = map(str, axes)
        folders = {name: str(path) for name, path in vars(self.files).items() if path is not None}
        return GridRecipe(
            model=self.source.ref or self.source.title,
            x=x,
            y=y,
            z=z,
            request=request,
            base=self._given_base(),
            prediction=self.source.prediction or "",
            weights=tuple((str(path), strength) for path, strength in self.source.adapters),
            adapters=tuple((str(path), strength) for path, strength in self.added),
            precision=_PRECISIONS.get(self.precision, self.precision),
            folders=folders,
        )


def make_grid(
    model: Pipeline | ModelSource | str | Path,
    x: Axis | str,
    y: Axis | str | None,
    request: ImageRequest,
    out: Path | str,
    *,
    z: Axis | str | None = None,
    title: str | None = None,
    scores: Scores | None = None,
    batch: int | None = None,
    **opening: Any,
) -> Generator[Event, None, Grid]:
    """Generate the images of a grid that do not exist yet; save the sheet `out/grid.png` and the page `out/grid.html`.

    A cell that cannot be generated (a size that the model does not have, a damaged adapter, too little memory) is
    blank and says why; the others are generated, and the next call tries it again.

    Args:
        model: an open pipeline (restored afterwards), or MODEL, which is opened only if an image is missing.
        x: the axis of the columns, or its text (`epoch`, `weight=0.4,0.8`; see `grids.axes.parse_axis`).
        y: the axis of the rows; None: one row.
        request: all other settings. A seed or variation seed of -1 becomes 1, so that images can be compared; `count`
            must be 1.
        out: a folder; images are saved in `out/cells`, each at once, so that a stopped grid can be resumed.
        z: the axis of grids beside each other; None: one grid.
        title: heading of the grid. Default: the model's name and the prompt.
        scores: returns the text under each image.
        batch: see `Pipeline.generate`.
        opening: device, dtype, adapters, base, loras and embeddings, for `Pipeline.open`.

    Yields:
        `Progress("images", done, total)` after each, `Warned` for each that failed and for what is probably not meant
        in a prompt, and `GridSaved` at the end. The generator's value is the `Grid`.

    Raises:
        UsageError: two axes vary the same setting, an invalid value, a strength without an adapter, or an image in
            memory; raised before any image is generated.
        BakehouseError: a file cannot be written, or no image can be generated, all for the same reason.
    """
    if request.count != 1:
        raise UsageError(f"count = {request.count}: a grid has one image per cell", hint="use the axis seed=1-4")
    request_to_json(request)  # a source image in memory could not be named in the grid's recipe
    seed, variation = (1 if s == RANDOM_SEED else s for s in (request.seed, request.variation_seed))
    request = replace(request, seed=seed, variation_seed=variation)
    opened, out = _Opening.of(model, opening), Path(out)
    axes = (
        _as_axis(x, opened.source, request),
        _as_axis(y, opened.source, request),
        _as_axis(z, opened.source, request),
    )
    placer = CellPlacer(opened.source, opened.added, out / CELLS, opened.precision, opened.files)
    planes = _place_all(axes, request, placer)
    cells = [cell for plane in planes for row in plane for cell in row]
    files = {cell.path: cell for cell in cells if cell.path is not None}
    missing = [cell for path, cell in files.items() if not is_intact(path)]
    unusable = [cell for cell in cells if cell.path is None]
    total = len(files) + len(unusable)

    yield Progress(what="images", done=total - len(missing), total=total)
    for cell in unusable:
        yield Warned(message=f"{_name_of(cell, planes, axes)}: {cell.failure}")
    errors = yield from _draw_missing(opened, missing, batch, total, lambda cell: _name_of(cell, planes, axes))
    failures = {path: reason(error) for path, error in errors.items()}
    if len(errors) == total and len(set(failures.values())) == 1:
        # One cause, such as a damaged adapter, for all: a sheet of empty cells would help no one.
        raise next(iter(errors.values()))

    drawn = [
        [[DrawnCell(c.cell.request, *_file_or_reason(c, failures)) for c in row] for row in plane] for plane in planes
    ]
    title = _title(axes, opened.source, request) if title is None else title
    grid = save_grid(out, axes, drawn, opened.recipe(axes, request), title, scores)
    made = len(missing) - len(failures)
    yield GridSaved(
        path=str(grid.path),
        page=str(grid.page),
        made=made,
        reused=len(files) - len(missing),
        failed=len(failures) + len(unusable),
    )
    return grid


def _draw_missing(
    opened: _Opening, missing: list[PlacedCell], batch: int | None, total: int, name_of: Callable[[PlacedCell], str]
) -> Generator[Event, None, dict[Path | None, Failure]]:
    """Generate the missing images, the last of `total`; return the errors of those that failed, by their path."""
    errors: dict[Path | None, Failure] = {}
    if not missing:
        return errors
    heard: list[Event] = []
    said: set[str] = set()
    with opened.opened() as pipeline:
        drawn = draw_cells(pipeline, missing, batch, heard.append)
        for done, (cell, failure) in enumerate(drawn, total - len(missing) + 1):
            yield Progress(what="images", done=done, total=total)
            for event in heard:
                if isinstance(event, Warned) and event.message not in said:
                    said.add(event.message)
                    yield event
            heard.clear()
            if failure is not None:
                errors[cell.path] = failure
                yield Warned(message=f"{name_of(cell)}: {reason(failure)}")
    return errors


def _as_axis(axis: Axis | str | None, source: ModelSource, request: ImageRequest) -> Axis:
    if isinstance(axis, str):
        return parse_axis(axis, source, request) if axis else NO_AXIS
    return axis or NO_AXIS


def _place_all(
    axes: tuple[Axis, Axis, Axis], request: ImageRequest, placer: CellPlacer
) -> list[list[list[PlacedCell]]]:
    """Return every cell as `planes[z][row][column]`.

    Raises:
        UsageError: see `make_grid`.
    """
    check_together(axes)
    x, y, z = axes
    count = len(x.values) * len(y.values) * len(z.values)
    if count > MAX_CELLS:
        raise UsageError(f"the grid has {count:,} cells: allowed are {MAX_CELLS:,}", hint="give the axes fewer values")
    order = sorted(range(3), key=lambda i: RANK.get(axes[i].kind.name, -1))

    def place(*at: int) -> PlacedCell:
        cell = GridCell(request)
        for i in order:
            cell = axes[i].apply(cell, at[i])
        return placer.place(cell)

    return [
        [[place(column, row, plane) for column in range(len(x.values))] for row in range(len(y.values))]
        for plane in range(len(z.values))
    ]


def _file_or_reason(cell: PlacedCell, failures: dict[Path | None, str]) -> tuple[Path | None, str]:
    """Return a cell's file and no reason, or no file and why."""
    if cell.path is None:
        return None, cell.failure
    failure = failures.get(cell.path, "")
    return (None, failure) if failure else (cell.path, "")


def _name_of(cell: PlacedCell, planes: list[list[list[PlacedCell]]], axes: tuple[Axis, Axis, Axis]) -> str:
    """Return the labels of the first place in which a cell is."""
    x, y, z = axes
    for plane, z_label in zip(planes, z.labels, strict=True):
        for row, y_label in zip(plane, y.labels, strict=True):
            for found, x_label in zip(row, x.labels, strict=True):
                if found is cell or (cell.path is not None and found.path == cell.path):
                    return ", ".join(label for label in (x_label, y_label, z_label) if label)
    raise ValueError("the cell is in no place of the grid")


def _title(axes: tuple[Axis, Axis, Axis], source: ModelSource, request: ImageRequest) -> str:
    named = {axis.kind.name for axis in axes}
    return source.title if named & {"prompt", "replace", "trigger", "template"} else f"{source.title}\n{request.prompt}"
