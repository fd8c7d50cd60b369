"""Everything that the server keeps, opened together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bakehouse.core.files import data_dir
from bakehouse.serve.store.database import Database
from bakehouse.serve.store.draw_jobs import DrawJobs
from bakehouse.serve.store.options import Options
from bakehouse.serve.store.pictures import Pictures
from bakehouse.serve.store.served_runs import ServedRuns
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
        self.ledger = Ledger(self.database)
        self.jobs = DrawJobs(self.database)
        self.pictures = Pictures(self.database, self.folder / "pictures")
        self.options = Options(self.database)
        self.tasks = TaskEntries(self.database)
        self.served_runs = ServedRuns(self.database)

    @property
    def uploads(self) -> Path:
        """Images that requests carried, until the request ends."""
        return self.folder / "uploads"

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
