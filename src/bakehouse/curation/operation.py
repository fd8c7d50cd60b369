"""The protocol of dataset operations: settings that inspect a dataset and propose changes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

from bakehouse.core.events import Event, OnEvent, ignore
from bakehouse.curation.apply_and_undo import apply_proposals, recover
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.journal import Step
from bakehouse.data import ImageSet, scan


class Operation(Protocol):
    """Settings (a `Spec`) of a dataset command. The class is named after the command: `Trim` is `dataset trim`."""

    def propose(self, images: ImageSet) -> Iterable[Proposal | Event]:
        """Yield what to change, and events for the user (progress, notes, warnings); write nothing."""
        ...

    def settings(self, *, mode: Literal["python", "json"] = "python") -> dict[str, Any]:
        """Return the settings that differ from their defaults."""
        ...


def operation_name(operation: Operation) -> str:
    """Return the command's name, which the history stores: `trim` for a `Trim`, or the class's `command`."""
    return getattr(operation, "command", None) or type(operation).__name__.lower()


def collect_proposals(operation: Operation, images: ImageSet, on_event: OnEvent = ignore) -> list[Proposal]:
    """Return all proposals of an operation; its events go to `on_event`."""
    return take_proposals(operation.propose(images), on_event)


def take_proposals(items: Iterable[Proposal | Event], on_event: OnEvent = ignore) -> list[Proposal]:
    """Return the proposals among items; events go to `on_event`."""
    proposals: list[Proposal] = []
    for item in items:
        if isinstance(item, Proposal):
            proposals.append(item)
        else:
            on_event(item)
    return proposals


def apply_operation(
    folder: Path | str,
    operation: Operation,
    *,
    out: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_event: OnEvent = ignore,
) -> Step | None:
    """Apply an operation to a dataset, as its command does; return the step, or None if there was nothing to change.

    Args:
        folder: the dataset.
        operation: with its settings.
        out: copy the dataset there and change the copy; `folder` is only read.
        progress: called with (done, total) after each image.
        on_event: called with each event of the operation.

    Raises:
        UsageError: `folder` does not exist or holds no images.
        Other errors: see `history.apply_proposals`.
    """
    recover(folder)
    proposals = collect_proposals(operation, scan(folder), on_event)
    settings = operation.settings(mode="json")
    name = operation_name(operation)
    return apply_proposals(folder, name, proposals, settings=settings, out=out, progress=progress, on_event=on_event)
