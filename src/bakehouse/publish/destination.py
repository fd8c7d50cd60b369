"""Destinations of a publication, and which of its files differ from those there."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event
from bakehouse.core.files import sha256_bytes
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.publish.publication import CARD, Publication, PublishedFile


@dataclass(frozen=True, kw_only=True)
class Published(Event):
    """A publication is complete."""

    where: str
    """A folder, or the address of a page."""
    changed: tuple[str, ...]
    """Names of the files that were written; the others were there already."""
    unchanged: int
    notes: tuple[str, ...] = ()


class Destination(Protocol):
    """A folder, a URL or a repository."""

    repo: str
    """What a reader of the card loads: a repository's id, or words in place of a path."""

    def update(
        self, publication: Publication, folder: Path, *, replace_card: bool
    ) -> Generator[Event, None, Published]:
        """Write what differs; `folder` is for temporary files. The same call again resumes."""


@dataclass(frozen=True)
class Changes:
    """What a publication changes at its destination."""

    files: tuple[PublishedFile, ...]
    """All that belongs there, without a card that was edited."""
    manifest: dict[str, Any]
    recorded: Mapping[str, str]
    """sha256 of what the last publication wrote, by name."""
    notes: tuple[str, ...]


def changes(publication: Publication, manifest: bytes | None, card: bytes | None, *, replace_card: bool) -> Changes:
    """Compare a publication with what is at its destination.

    A card that is not as the last publication wrote it was edited by a person, and stays.

    Args:
        manifest: the `publish.json` there; None: there is none.
        card: the `README.md` there.
    """
    recorded = _recorded(manifest)
    files, listed = publication.files, publication.manifest
    notes: tuple[str, ...] = ()
    ours = next(f for f in files if f.name == CARD)
    if card is not None and not replace_card and sha256_bytes(card) not in (recorded.get(CARD), ours.sha256):
        files = tuple(f for f in files if f is not ours)
        listed["files"][CARD] = {"sha256": recorded.get(CARD, ""), "bytes": ours.size}
        notes = (f"{CARD} there was edited, so it stays as it is; --replace-card replaces it",)
    return Changes(files, listed, recorded, notes)


def _recorded(manifest: bytes | None) -> dict[str, str]:
    if manifest is None:
        return {}
    try:
        return {str(name): str(entry["sha256"]) for name, entry in parse_json(manifest)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # damaged, or another program's: everything is written again


def check_others(there: bytes | None, where: str, names: list[str]) -> None:
    """Check that a folder holds nothing that a first publication would replace.

    Args:
        there: the manifest there.
        names: files of the publication that exist there.

    Raises:
        UsageError: there are such files, and no publication was written there before.
    """
    if there is None and names:
        raise UsageError(
            f"{where} already holds {names[0]}, which bakehouse did not publish",
            hint="choose an empty folder, or move what is there away",
        )
