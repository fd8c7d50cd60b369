"""Destinations of a publication, and which of its files differ from those there."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event
from bakehouse.core.files import json_bytes, sha256_bytes
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.publish.publication import CARD, MANIFEST, Publication, PublishedFile


@dataclass(frozen=True, kw_only=True)
class Published(Event):
    """A publication is complete."""

    where: str
    """A folder, or the address of a page."""
    changed: tuple[str, ...]
    """Names of the files that were written; the others were there already."""
    unchanged: int
    notes: tuple[str, ...] = ()


FileState = Literal["new", "changed", "same", "kept"]
"""Of a file at its destination: not there, to be replaced, as it should be, or edited by a person and left alone."""


@dataclass(frozen=True)
class FileChange:
    """What a publication does to one file at its destination."""

    name: str
    bytes: int
    state: FileState


@dataclass(frozen=True)
class Comparison:
    """A publication beside what is at its destination; nothing has been written there."""

    where: str
    """A folder, a URL, or the address of a page."""
    exists: bool
    """Whether there is a folder or repository already."""
    files: tuple[FileChange, ...]
    notes: tuple[str, ...] = ()


class Destination(Protocol):
    """A folder, a URL or a repository."""

    repo: str
    """What a reader of the card loads: a repository's id, or words in place of a path."""

    def update(
        self, publication: Publication, folder: Path, *, replace_card: bool
    ) -> Generator[Event, None, Published]:
        """Write what differs; `folder` is for temporary files. The same call again resumes."""

    def compare(self, publication: Publication, folder: Path, *, replace_card: bool) -> Comparison:
        """Say what `update` would write; it is refused for the same reasons."""


@dataclass(frozen=True)
class Changes:
    """What a publication changes at its destination."""

    files: tuple[PublishedFile, ...]
    """All that belongs there, without a card that was edited."""
    manifest: dict[str, Any]
    recorded: Mapping[str, str]
    """sha256 of what the last publication wrote, by name."""
    notes: tuple[str, ...]

    def is_same(self, file: PublishedFile) -> bool:
        """Whether the last publication wrote a file as it is now."""
        return self.recorded.get(file.name) == file.sha256

    def states(self, publication: Publication, present: Callable[[PublishedFile], bool]) -> tuple[FileChange, ...]:
        """Return what is done to each file; `present` says whether one is there, whole, as far as its size tells."""

        def state(file: PublishedFile) -> FileState:
            if file not in self.files:
                return "kept"
            if file.name not in self.recorded:
                return "new"
            return "same" if self.is_same(file) and present(file) else "changed"

        found = tuple(FileChange(f.name, f.size, state(f)) for f in publication.files)
        is_same = all(one.state in ("same", "kept") for one in found)
        listed: FileState = "same" if is_same else "changed" if self.recorded else "new"
        return (*found, FileChange(MANIFEST, len(json_bytes(self.manifest)), listed))


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
