"""The SQLite file: opened in WAL mode, brought to the newest version, used by many threads."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from bakehouse.core.errors import BakehouseError
from bakehouse.serve.store.migrations import MIGRATIONS

_WAIT_SECONDS = 30.0
"""How long to wait while another process writes; a write takes milliseconds."""


class Database:
    """One SQLite file. A transaction that has ended is on the disk, whatever happens to this process.

    Each thread asks with a connection of its own, so that a question waits neither for a write to reach the disk nor
    for a long question of another thread: the event loop asks who calls while a thread lists a month's usage.

    Raises:
        BakehouseError: the file cannot be opened, is damaged, or was written by a later version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._write_lock, self._list_lock = threading.Lock(), threading.Lock()
        self._own, self._readers = threading.local(), list[sqlite3.Connection]()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = _connect(path)
            self._migrate()
            self._reader()
        except (OSError, sqlite3.Error) as e:
            raise BakehouseError(
                f"cannot open the server's database {path}: {e}", hint="restore it from a backup, or move it away"
            ) from e

    @property
    def version(self) -> int:
        """Number of migrations that the file has."""
        with self.reading() as db:
            return int(db.execute("PRAGMA user_version").fetchone()[0])

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection whose statements take effect together or not at all."""
        with self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for questions."""
        yield self._reader()

    def close(self) -> None:
        """Close the file; its write-ahead log is merged into it."""
        with self._write_lock, self._list_lock:
            for reader in self._readers:
                reader.close()
            self._writer.close()

    def _reader(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        found: sqlite3.Connection | None = getattr(self._own, "reader", None)
        if found is None:
            found = self._own.reader = _connect(self.path)
            with self._list_lock:
                self._readers.append(found)
        return found

    def _migrate(self) -> None:
        with self.writing() as db:  # locked before the version is read: two processes may start at once
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if version > len(MIGRATIONS):
                raise BakehouseError(
                    f"{self.path} has version {version}, and this bakehouse knows {len(MIGRATIONS)}",
                    hint="install the version of bakehouse that wrote it, or a later one",
                )
            for script in MIGRATIONS[version:]:
                for statement in script.split(";"):  # executescript would end the transaction
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection
