"""What the verbs of `bakehouse dataset` have in common: settings that look at images and propose what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

from bakehouse.core.events import Event, OnEvent, ignore
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.history import apply, recover
from bakehouse.curation.journal import Step
from bakehouse.data import ImageSet, scan


class Verb(Protocol):
    """A `Spec` that proposes; its class has the verb's name: `Trim` is `bakehouse dataset trim`."""

    def propose(self, images: ImageSet) -> Iterable[Proposal | Event]:
        """What should be done about which image; nothing is written. Events among it tell what a person should know."""
        ...

    def settings(self, *, mode: Literal["python", "json"] = "python") -> dict[str, Any]:
        """What was set, without the defaults."""
        ...


def name_of(verb: Verb) -> str:
    """`trim` for a `Trim`."""
    return type(verb).__name__.lower()


def proposed(verb: Verb, images: ImageSet, on_event: OnEvent = ignore) -> list[Proposal]:
    """Return all that an operation proposes; `on_event` is called with its events."""
    found: list[Proposal] = []
    for made in verb.propose(images):
        if isinstance(made, Proposal):
            found.append(made)
        else:
            on_event(made)
    return found


def carry_out(
    folder: Path | str,
    verb: Verb,
    *,
    out: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_event: OnEvent = ignore,
) -> Step | None:
    """Does to a dataset what a verb proposes; None if there is nothing to do. As `bakehouse dataset VERB` does.

    Args:
        folder: the dataset.
        verb: with its settings.
        out: the dataset is copied there and changed there; `folder` is only read.
        progress: called with (done, total) after each image.
        on_event: called with the operation's events.

    Raises:
        UsageError: no such folder, or no image in it.
        As `steps.apply`.
    """
    recover(folder)
    proposals = proposed(verb, scan(folder), on_event)
    settings = verb.settings(mode="json")
    return apply(folder, name_of(verb), proposals, settings=settings, out=out, progress=progress, on_event=on_event)
