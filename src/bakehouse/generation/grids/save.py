"""Save a grid: the sheet as a PNG with its recipe inside, and the page in HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from bakehouse.core.errors import BakehouseError
from bakehouse.generation.contact_sheet import draw_grid, reduction
from bakehouse.generation.grids.axes import Axis
from bakehouse.generation.grids.grid_recipe import RECIPE_CHUNK, GridRecipe
from bakehouse.generation.grids.page import PageAxis, PageCell, write_page
from bakehouse.generation.grids.values import join_values
from bakehouse.generation.infotext import Infotext, read, write
from bakehouse.generation.request import ImageRequest

Scores = Callable[[Sequence[Path], Sequence[ImageRequest]], Sequence[str]]
"""Returns the text under each image, such as a score, from the images' files and requests."""
SHEET, PAGE = "grid.png", "grid.html"


@dataclass(frozen=True)
class DrawnCell:
    """A cell of a grid that is finished."""

    request: ImageRequest
    path: Path | None
    """The image; None if it could not be generated."""
    failure: str = ""
    """Why it could not."""
    caption: str = ""
    """What is written under it."""


Planes = tuple[tuple[tuple[DrawnCell, ...], ...], ...]
"""Cells as `planes[z][row][column]`."""


@dataclass(frozen=True)
class Grid:
    """A grid that is saved."""

    path: Path
    """The sheet."""
    page: Path
    """The page in HTML, which shows the images beside it."""
    recipe: GridRecipe
    x_labels: tuple[str, ...]
    y_labels: tuple[str, ...]
    z_labels: tuple[str, ...]
    cells: Planes
    """Cells as `cells[z][row][column]`."""


def save_grid(
    out: Path,
    axes: tuple[Axis, Axis, Axis],
    planes: Sequence[Sequence[Sequence[DrawnCell]]],
    recipe: GridRecipe,
    title: str,
    scores: Scores | None,
) -> Grid:
    """Write `out/grid.png` and `out/grid.html`.

    Raises:
        BakehouseError: an image cannot be read, or a file cannot be written.
    """
    cells = _scored(planes, scores)
    x, y, z = axes
    grid = Grid(out / SHEET, out / PAGE, recipe, x.labels, y.labels, z.labels, cells)
    write(_sheet(grid, title), _infotext(axes, cells) or "", grid.path, chunks={RECIPE_CHUNK: recipe.to_json()})
    first, _, rest = title.partition("\n")
    write_page(
        grid.page,
        title=first,
        subtitle=rest,
        axes=tuple(PageAxis(axis.kind.label, axis.labels) for axis in axes),
        planes=[[[_page_cell(cell, out) for cell in row] for row in plane] for plane in cells],
        recipe=recipe.to_json(),
        sheet=SHEET,
    )
    return grid


def is_intact(path: Path) -> bool:
    """Return whether an image exists and is whole."""
    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError):  # what Pillow raises for a damaged PNG
        return False
    return True


def _scored(planes: Sequence[Sequence[Sequence[DrawnCell]]], scores: Scores | None) -> Planes:
    """Return the cells with what is written under them."""
    known: dict[Path, str] = {}
    if scores is not None:
        different = {c.path: c.request for plane in planes for row in plane for c in row if c.path is not None}
        known = dict(zip(different, scores(list(different), list(different.values())), strict=True))
    return tuple(
        tuple(tuple(replace(c, caption=known.get(c.path, "") if c.path else "") for c in row) for row in plane)
        for plane in planes
    )


def _sheet(grid: Grid, title: str) -> Image.Image:
    """Return the sheet in A1111's layout: several grids in a row, each under its value of z."""
    sizes = {c.path: _size(c.path) for plane in grid.cells for row in plane for c in row if c.path is not None}
    count = sum(len(row) for plane in grid.cells for row in plane)
    divisor = reduction(list(sizes.values()), count)
    captioned = any(c.caption for plane in grid.cells for row in plane for c in row)
    whole = title if len(grid.cells) == 1 else ""
    sheets = [
        draw_grid(
            [[c.failure if c.path is None else _load(c.path, divisor) for c in row] for row in plane],
            grid.x_labels,
            grid.y_labels,
            whole,
            captions=[[c.caption for c in row] for row in plane] if captioned else None,
        )
        for plane in grid.cells
    ]
    if len(sheets) == 1:
        return sheets[0]
    return draw_grid([sheets], grid.z_labels, [""], title)


def _infotext(axes: tuple[Axis, Axis, Axis], cells: Planes) -> Infotext | None:
    """Return the infotext of the first image with A1111's settings of a grid."""
    first = next((c.path for plane in cells for row in plane for c in row if c.path is not None), None)
    info = None if first is None else read(first)
    if info is None:
        return None
    script = {"Script": "X/Y/Z plot"}
    for letter, axis in zip("XYZ", axes, strict=True):
        if axis.kind.name:
            script |= {f"{letter} Type": axis.kind.label, f"{letter} Values": join_values(axis.texts)}
    return info.with_settings(script)


def _page_cell(cell: DrawnCell, out: Path) -> PageCell:
    if cell.path is None:
        return PageCell(failure=cell.failure)
    width, height = _size(cell.path)
    return PageCell(cell.path.relative_to(out).as_posix(), width, height, caption=cell.caption)


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _load(path: Path, divisor: int) -> Image.Image:
    try:
        with Image.open(path) as image:
            plain = image.convert("RGB")
    except OSError as e:
        raise BakehouseError(f"cannot read {path}: {e}", hint="run the same command again") from e
    return plain.reduce(divisor) if divisor > 1 else plain
