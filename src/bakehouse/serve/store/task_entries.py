"""Commands that requests have started: kept when they end, so that what they found can be asked for later."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from typing import Literal

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.serve.store.database import Database

TaskState = Literal["waiting", "running", "done", "failed", "canceled"]


@dataclass(frozen=True)
class TaskEntry:
    """One command; times in seconds since the epoch."""

    id: str
    caller: str
    kind: str
    """`audit`, `operation`, `preview`, `import`, `explain`, `extend`, `evaluate`, `publish`, `fetch` ..."""
    subject: str
    """The dataset, run or base model that it works on."""
    arguments: tuple[str, ...]
    """Of `bakehouse`."""
    state: TaskState
    error: str
    added: float
    ended: float | None

    @property
    def has_ended(self) -> bool:
        return self.state not in ("waiting", "running")


class TaskEntries:
    """The commands of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, task: str, caller: str, kind: str, subject: str, arguments: tuple[str, ...]) -> TaskEntry:
        """Keep a command that waits."""
        with self._database.writing() as db:
            columns = "id, caller, kind, subject, arguments, state, added"
            row = (task, caller, kind, subject, json.dumps(arguments), "waiting", time.time())
            db.execute(f"INSERT INTO tasks ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            return _entry(db.execute("SELECT * FROM tasks WHERE id = ?", (task,)).fetchone())

    def find(self, task: str) -> TaskEntry | None:
        """Return a command."""
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM tasks WHERE id = ?", (task,)).fetchone()
        return None if row is None else _entry(row)

    def newest(self, *, subject: str | None = None, kind: str | None = None, limit: int = 50) -> list[TaskEntry]:
        """Return the newest commands, of a subject and a kind if they are given."""
        with self._database.reading() as db:
            asked = (
                "SELECT * FROM tasks WHERE (?1 IS NULL OR subject = ?1) AND (?2 IS NULL OR kind = ?2) "
                "ORDER BY added DESC LIMIT ?3"
            )
            return [_entry(row) for row in db.execute(asked, (subject, kind, limit))]

    def unfinished(self) -> list[TaskEntry]:
        """Return the commands that waited or ran, oldest first."""
        with self._database.reading() as db:
            asked = "SELECT * FROM tasks WHERE state IN ('waiting', 'running') ORDER BY added"
            return [_entry(row) for row in db.execute(asked)]

    def set_state(self, task: str, state: TaskState, error: str = "") -> None:
        """Note how far a command is."""
        ended = None if state in ("waiting", "running") else time.time()
        with self._database.writing() as db:
            db.execute("UPDATE tasks SET state = ?, error = ?, ended = ? WHERE id = ?", (state, error, ended, task))

    def forget_older(self, kept: int) -> list[str]:
        """Forget all but the newest commands that have ended; returns the ids of those that are forgotten."""
        with self._database.writing() as db:
            old = "SELECT id FROM tasks WHERE state NOT IN ('waiting', 'running') ORDER BY added DESC LIMIT -1 OFFSET ?"
            ids = [row["id"] for row in db.execute(old, (kept,))]
            db.executemany("DELETE FROM tasks WHERE id = ?", [(one,) for one in ids])
            return ids


def _entry(row: sqlite3.Row) -> TaskEntry:
    return TaskEntry(
        row["id"], row["caller"], row["kind"], row["subject"], tuple(parse_json(row["arguments"])), row["state"],
        row["error"], row["added"], row["ended"],
    )  # fmt: skip
