"""What `bakehouse grid` made."""

from __future__ import annotations

from collections.abc import Sequence

from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event
from bakehouse.core.message_text import counted
from bakehouse.generation import GridSaved


def print_grid(events: Sequence[Event], *, json: bool) -> None:
    """Print the files of a grid.

    Raises:
        BakehouseError: some of its images could not be generated.
    """
    for event in events:
        if not isinstance(event, GridSaved):
            continue
        if not json:
            echo(event.path, event.page, sep="\n")
        if event.failed:
            raise BakehouseError(
                f"{counted(event.failed, 'image')} of the grid could not be generated",
                hint="their cells are blank and say why; the same command tries them again",
            )
