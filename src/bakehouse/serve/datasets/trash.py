"""Folders that were deleted: moved aside under an id, until they are restored or deleted for good."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import read_json, write_text
from bakehouse.serve.errors import ServeError, not_found

_FOLDER = ".trash"


@dataclass(frozen=True)
class Trashed:
    """One deleted folder."""

    id: str
    kind: str
    """`dataset`, `run` or `publication`."""
    name: str
    deleted: float
    """Seconds since the epoch."""


class Trash:
    """The deleted folders of one root, in `.trash` inside it: moving them there copies nothing."""

    def __init__(self, root: Path, kind: str) -> None:
        self.root, self.kind = root, kind

    def put(self, folder: Path) -> Trashed:
        """Move a folder of the root into the trash."""
        entry = Trashed(secrets.token_hex(8), self.kind, folder.name, time.time())
        place = self.root / _FOLDER / entry.id
        place.mkdir(parents=True)
        write_text(place / "entry.json", json.dumps(asdict(entry)))
        os.rename(folder, place / "content")  # noqa: PTH104 - of a link, the link itself is moved
        return entry

    def all(self) -> list[Trashed]:
        """Return what is in the trash, newest first."""
        found = []
        for path in (self.root / _FOLDER).glob("*/entry.json"):
            try:
                entry = Trashed(**read_json(path))
            except (BakehouseError, TypeError):
                continue  # not ours
            if path.with_name("content").exists() and entry.id == path.parent.name:
                found.append(entry)
        return sorted(found, key=lambda entry: -entry.deleted)

    def find(self, entry: str) -> Trashed | None:
        """Return an entry by its id."""
        return next((one for one in self.all() if one.id == entry), None)

    def restore(self, entry: Trashed) -> Path:
        """Move a folder back to where it was.

        Raises:
            ServeError: there is another one of its name by now (409).
        """
        target = self.root / entry.name
        if target.exists():
            raise ServeError(
                409, "exists", f"there is another {self.kind} {entry.name!r} by now", hint="rename or delete that first"
            )
        place = self._place(entry)
        os.rename(place / "content", target)  # noqa: PTH104
        shutil.rmtree(place, ignore_errors=True)
        return target

    def delete(self, entry: Trashed) -> None:
        """Delete a folder for good; of a link, the link alone."""
        content = self._place(entry) / "content"
        if content.is_symlink():
            content.unlink()
        shutil.rmtree(self._place(entry))

    def _place(self, entry: Trashed) -> Path:
        place = self.root / _FOLDER / entry.id
        if not place.is_dir():
            raise not_found(f"{entry.name!r} is not in the trash any more")
        return place
