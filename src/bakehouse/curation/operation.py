"""What the verbs of `bakehouse dataset` have in common: settings that look at images and propose what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

from bakehouse.core.events import Event
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


def proposed(verb: Verb, images: ImageSet, tell: Callable[[Event], None] = lambda _: None) -> list[Proposal]:
    """All that a verb proposes; what it tells on the way goes to `tell`."""
    found: list[Proposal] = []
    for made in verb.propose(images):
        if isinstance(made, Proposal):
            found.append(made)
        else:
            tell(made)
    return found


def carry_out(
    folder: Path | str,
    verb: Verb,
    *,
    out: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    tell: Callable[[Event], None] = lambda _: None,
) -> Step | None:
    """Does to a dataset what a verb proposes; None if there is nothing to do. As `bakehouse dataset VERB` does.

    Args:
        folder: the dataset.
        verb: with its settings.
        out: the dataset is copied there and changed there; `folder` is only read.
        progress: called with (done, total) after each image.
        tell: hears what the verb has to say.

    Raises:
        UsageError: no such folder, or no image in it.
        As `steps.apply`.
    """
    recover(folder)
    proposals = proposed(verb, scan(folder), tell)
    settings = verb.settings(mode="json")
    return apply(folder, name_of(verb), proposals, settings=settings, out=out, progress=progress, tell=tell)
