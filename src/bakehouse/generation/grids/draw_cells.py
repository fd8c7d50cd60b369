"""Generate the images of cells in an order that loads models rarely; an image that fails does not stop the others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event
from bakehouse.generation.grids.cells import PlacedCell
from bakehouse.generation.infotext import write
from bakehouse.generation.request import GeneratedImage, ImageRequest

if TYPE_CHECKING:
    from bakehouse.generation.pipeline import Pipeline

Failure = BakehouseError | OSError
"""What makes a cell fail. Anything else is a mistake in the program, and ends it."""


def draw_cells(
    pipeline: Pipeline, cells: Sequence[PlacedCell], batch: int | None, on_event: Callable[[Event], None]
) -> Iterator[tuple[PlacedCell, Failure | None]]:
    """Yield each cell when its image is saved, or with the error because of which it was not.

    Args:
        pipeline: left with the model of the last cells.
        cells: in any order, with different files.
        batch: see `Pipeline.generate`.
        on_event: see `Pipeline.generate`.

    Raises:
        BakehouseError: a file cannot be written.
    """
    for (source, added), group in itertools.groupby(in_order(cells), key=lambda c: (c.source, c.added)):
        alike = list(group)
        try:
            pipeline.use(source, added)
        except (BakehouseError, OSError) as e:
            failure = e
            yield from ((cell, failure) for cell in alike)
        else:
            yield from _draw_group(pipeline, alike, batch, on_event)


def in_order(cells: Sequence[PlacedCell]) -> list[PlacedCell]:
    """Sort cells so that the base model changes least, then the adapters, then their strengths, then the rest.

    This is the order whatever axes these are on: loading a base takes as long as many images.
    """
    bases, own, added = (
        _first_seen(values)
        for values in (
            [c.source.base_settings for c in cells],
            [_paths(c.source.adapters) for c in cells],
            [_paths(c.added) for c in cells],
        )
    )

    def cost(cell: PlacedCell) -> tuple[Any, ...]:
        strengths = [strength for _, strength in (*cell.source.adapters, *cell.added)]
        files = bases[cell.source.base_settings], own[_paths(cell.source.adapters)], added[_paths(cell.added)]
        return *files, strengths, _batch_order(cell.cell.request)

    return sorted(cells, key=cost)


def reason(error: Failure) -> str:
    """Return why a cell failed, in one line."""
    message = error.message if isinstance(error, BakehouseError) else str(error)
    return " ".join(message.split())


def _draw_group(
    pipeline: Pipeline, cells: Sequence[PlacedCell], batch: int | None, on_event: Callable[[Event], None]
) -> Iterator[tuple[PlacedCell, Failure | None]]:
    """Generate cells of one model together; at an error, those that are left one by one."""
    done = 0
    failure: Failure | None = None
    for made in _images(pipeline, [cell.cell.request for cell in cells], batch, on_event):
        if not isinstance(made, GeneratedImage):
            failure = made
            break
        path = cells[done].path
        assert path is not None  # cells without a file never get here
        write(made.image, made.infotext, path)
        yield cells[done], None
        done += 1
    if failure and len(cells) == 1:
        yield cells[0], failure
        return
    for cell in cells[done:]:
        yield from _draw_group(pipeline, [cell], batch, on_event)


def _images(
    pipeline: Pipeline, requests: Sequence[ImageRequest], batch: int | None, on_event: Callable[[Event], None]
) -> Iterator[GeneratedImage | Failure]:
    """Yield the images; an error is the last thing that it yields."""
    try:
        yield from pipeline.generate(requests, batch=batch, on_event=on_event)
    except (BakehouseError, OSError) as e:
        yield e


def _first_seen(values: Sequence[Any]) -> dict[Any, int]:
    return {value: i for i, value in enumerate(dict.fromkeys(values))}


def _paths(adapters: Sequence[tuple[Path, float]]) -> tuple[Path, ...]:
    return tuple(path for path, _ in adapters)


def _batch_order(r: ImageRequest) -> tuple[Any, ...]:
    """Return a sort key that brings requests together that can share a batch."""
    size, guidance = (r.width or 0, r.height or 0), (r.guidance or 0, r.guidance_rescale)
    kind = str(r.image is not None), str(r.hires)
    return *size, r.clip_skip or 0, r.steps, *guidance, r.sampler, r.schedule or "", kind, len(r.prompt) // 300
