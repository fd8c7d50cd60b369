"""The page of a grid: one HTML file with its style and script inside, which shows the images beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.files import write_html
from bakehouse.core.html_pages import render


@dataclass(frozen=True)
class PageAxis:
    """An axis on the page; without a setting to vary, one empty label."""

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class PageCell:
    """A cell on the page: an image beside it, or why there is none."""

    file: str = ""
    """Path relative to the page."""
    width: int = 0
    height: int = 0
    """Pixels."""
    caption: str = ""
    failure: str = ""


def write_page(
    path: Path,
    *,
    title: str,
    subtitle: str,
    axes: Sequence[PageAxis],
    planes: Sequence[Sequence[Sequence[PageCell]]],
    recipe: str,
    sheet: str,
) -> None:
    """Write the page.

    Args:
        path: the file, in the folder to which the cells' paths are relative.
        title: heading.
        subtitle: the line below it, such as the prompt.
        axes: of columns, rows and planes.
        planes: cells as `planes[z][row][column]`.
        recipe: the grid's recipe as JSON.
        sheet: name of the sheet beside the page.

    Raises:
        BakehouseError: the page cannot be written.
    """
    x, y, z = axes
    sizes = [(cell.width, cell.height) for plane in planes for row in plane for cell in row if cell.file]
    wide, high = max(sizes, key=lambda size: size[0] * size[1], default=(1, 1))
    text = render(
        "bakehouse.generation.grids",
        "page.html.j2",
        title=title,
        subtitle=subtitle,
        x=x,
        y=y,
        z=z,
        planes=planes,
        shape=(wide, high),
        count=sum(len(row) for plane in planes for row in plane),
        recipe=recipe,
        sheet=sheet,
    )
    write_html(path, text)
