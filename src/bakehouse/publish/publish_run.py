"""Publishing a run: plan it, write its files into a temporary folder, bring them to their destination."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event
from bakehouse.core.file_store import open_store, protocol_of
from bakehouse.core.files import writing_to
from bakehouse.core.folder_lock import locked
from bakehouse.core.hub_token import find_token
from bakehouse.core.run_folder import Run
from bakehouse.models.model_reference import is_hub_id
from bakehouse.publish.destination import Comparison, Destination, Published
from bakehouse.publish.hub_destination import HubDestination
from bakehouse.publish.publication import CARD, PublicationPlan, plan_publication, write_publication
from bakehouse.publish.publication_facts import gather
from bakehouse.publish.publish_options import PublishSpec
from bakehouse.publish.store_destination import StoreDestination

HUB = "hub:"


@dataclass(frozen=True)
class Preview:
    """What would be published, file by file, and the card; nothing has been written at the destination."""

    plan: PublicationPlan
    found: Comparison
    card: str
    """The text of README.md."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values; `source` of an image is its file in the run."""
        run = self.plan.facts.run.folder
        images = {image.name: image.source for image in self.plan.images}
        images |= {image.base_name: image.base for image in self.plan.images if image.base is not None}
        return {
            **self.plan.to_json(),
            "licence_title": self.plan.facts.licence.title,
            "where": self.found.where,
            "exists": self.found.exists,
            "files": [asdict(one) for one in self.found.files],
            "notes": list(self.found.notes),
            "card": self.card,
            "sources": {name: path.relative_to(run).as_posix() for name, path in images.items()},
        }


def plan(run: Run, spec: PublishSpec) -> PublicationPlan:
    """Decide what of a run is published; nothing is written.

    Raises:
        UsageError: there are no weights, the base's licence forbids it, or consent of a person is not settled.
    """
    return plan_publication(gather(run, spec))


def check_destination(to: str) -> None:
    """Check a destination's form, without reaching it.

    Raises:
        UsageError: not a folder, a URL, or `hub:owner/name`.
    """
    if to.startswith(HUB):
        if not is_hub_id(to.removeprefix(HUB)):
            raise UsageError(f"{to!r} is not a repository of the Hub", hint="write hub:owner/name, such as hub:me/zwx")
    elif protocol_of(to):
        open_store(to)
    elif not to.strip():
        raise UsageError("the destination is empty", hint="pass --to FOLDER, --to hub:owner/name or --to URL")


def open_destination(
    to: str, spec: PublishSpec, *, ask: Callable[[], str] | None = None, bars: bool = False
) -> Destination:
    """Return the destination that a text names.

    Args:
        ask: asks the user for the Hub's token, where there is one to ask.
        bars: let the Hub's client show its own progress bars.

    Raises:
        UsageError: not a destination, or there is no token.
    """
    check_destination(to)
    if to.startswith(HUB):
        return HubDestination(to.removeprefix(HUB), find_token(ask), public=spec.public, bars=bars)
    return StoreDestination(open_store(to))


def publish(plan: PublicationPlan, destination: Destination) -> Generator[Event, None, Published]:
    """Write the files of a plan and bring them to their destination; the same call again changes what is different.

    Raises:
        UsageError: what is at the destination is in the way.
        BakehouseError: a file is damaged, a disk is full, or the destination cannot be reached.
    """
    facts = plan.facts
    with _working_folder(facts.run) as work:
        publication = yield from write_publication(plan, work / "files", destination.repo)
        published = yield from destination.update(publication, work, replace_card=facts.spec.replace_card)
    published = replace(published, notes=(*publication.model.notes, *published.notes))
    yield published
    return published


def preview(plan: PublicationPlan, destination: Destination) -> Generator[Event, None, Preview]:
    """Write the files of a plan into a temporary folder and compare them with what is at their destination.

    Raises:
        UsageError: what is at the destination is in the way.
        BakehouseError: a file is damaged, a disk is full, or the destination cannot be reached.
    """
    facts = plan.facts
    with _working_folder(facts.run) as work:
        publication = yield from write_publication(plan, work / "files", destination.repo)
        found = destination.compare(publication, work, replace_card=facts.spec.replace_card)
        card = next(f.path for f in publication.files if f.name == CARD).read_text("utf-8")
    return Preview(plan, replace(found, notes=(*publication.model.notes, *found.notes)), card)


@contextlib.contextmanager
def _working_folder(run: Run) -> Iterator[Path]:
    """Give an empty folder on the disk of the run, which has room for weights; what a killed publication left is gone.

    Raises:
        InUseError: another process publishes the run.
    """
    folder = run.folder / ".publish.part"
    with locked(folder, "publishing"):
        for left in ("files", "there"):
            shutil.rmtree(folder / left, ignore_errors=True)
        try:
            with writing_to(folder):
                (folder / "files").mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
