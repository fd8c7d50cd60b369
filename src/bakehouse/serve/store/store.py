"""Everything that the server keeps, opened together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bakehouse.core.errors import UsageError
from bakehouse.core.files import data_dir
from bakehouse.serve.store.database import Database
from bakehouse.serve.store.draw_jobs import DrawJobs
from bakehouse.serve.store.options import Options
from bakehouse.serve.store.pictures import Pictures
from bakehouse.serve.store.served_runs import ServedRuns
from bakehouse.serve.store.session_tokens import SessionTokens
from bakehouse.serve.store.share_pictures import SharePicture, SharePictures
from bakehouse.serve.store.share_usage import ShareUsage
from bakehouse.serve.store.shares import Shares
from bakehouse.serve.store.task_entries import TaskEntries
from bakehouse.serve.store.tokens import Tokens
from bakehouse.serve.store.usage import Ledger


def default_folder() -> Path:
    """Return the server's data folder: `serve` in the user's data folder."""
    return data_dir("serve")


class Store:
    """The server's data folder: `serve.db`, `pictures/`, `uploads/`, `tasks/`, `thumbnails/`, `queue.db`.

    Raises:
        BakehouseError: the database cannot be opened.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or default_folder()).resolve()
        self.database = Database(self.folder / "serve.db")
        self.tokens = Tokens(self.database)
        self.session_tokens = SessionTokens(self.database)
        self.ledger = Ledger(self.database)
        self.jobs = DrawJobs(self.database)
        self.pictures = Pictures(self.database, self.folder / "pictures")
        self.options = Options(self.database)
        self.tasks = TaskEntries(self.database)
        self.served_runs = ServedRuns(self.database)
        self.shares = Shares(self.database)
        self.share_pictures = SharePictures(self.database)
        self.share_usage = ShareUsage(self.database)

    @property
    def uploads(self) -> Path:
        """Images that requests carried, until the request ends."""
        return self.folder / "uploads"

    def share_picture(self, name: str, picture: str) -> SharePicture:
        """Return a finished picture of the share with a name.

        Raises:
            UsageError: there is no such share, or it has no such picture.
        """
        found = self.share_pictures.find(self.shares.named(name).id, picture)
        if found is None or found.picture is None:
            raise UsageError(
                f"the share {name!r} has no image {picture[:80]!r}", hint=f"list them: bakehouse share images {name}"
            )
        return found

    def remove_share_picture(self, picture: SharePicture) -> None:
        """Remove a picture that a visitor of a share has drawn: its file, its words, its reports."""
        if picture.picture is not None:
            self.pictures.remove(picture.picture)
        self.share_pictures.remove(picture.job)

    def close(self) -> None:
        """Close the database."""
        self.database.close()


@contextlib.contextmanager
def open_store(folder: Path | None = None) -> Iterator[Store]:
    """A store that is closed at the end of a `with` block."""
    store = Store(folder)
    try:
        yield store
    finally:
        store.close()
