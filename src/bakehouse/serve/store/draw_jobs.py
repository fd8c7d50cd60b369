"""Jobs that were accepted: kept until they end, so that a server that was killed goes on with them."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from typing import Any, Literal

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.serve.store.database import Database

DrawJobState = Literal["waiting", "running", "done", "failed", "canceled"]
ACTIVE: tuple[DrawJobState, ...] = ("waiting", "running")


@dataclass(frozen=True)
class DrawJob:
    """One job; times in seconds since the epoch."""

    id: str
    caller: str
    drawing: dict[str, Any]
    """What to draw, as `work.drawing.to_json` gives it."""
    state: DrawJobState
    error: str
    charge: int | None
    """Its entry in the ledger."""
    added: float
    ended: float | None


class DrawJobs:
    """The jobs of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, job: str, caller: str, drawing: dict[str, Any], charge: int | None) -> DrawJob:
        """Keep a job. When this returns, the job outlives the server."""
        with self._database.writing() as db:
            columns = "id, caller, drawing, state, charge, added"
            row = (job, caller, json.dumps(drawing), "waiting", charge, time.time())
            db.execute(f"INSERT INTO jobs ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)
            return _job(db.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone())

    def find(self, job: str) -> DrawJob | None:
        """Return a job."""
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
        return None if row is None else _job(row)

    def newest(self, caller: str | None, limit: int) -> list[DrawJob]:
        """Return the newest jobs of a caller, or of all."""
        with self._database.reading() as db:
            asked = "SELECT * FROM jobs WHERE (?1 IS NULL OR caller = ?1) ORDER BY added DESC LIMIT ?2"
            return [_job(row) for row in db.execute(asked, (caller, limit))]

    def unfinished(self) -> list[DrawJob]:
        """Return the jobs that wait or were running, oldest first."""
        with self._database.reading() as db:
            asked = "SELECT * FROM jobs WHERE state IN ('waiting', 'running') ORDER BY added"
            return [_job(row) for row in db.execute(asked)]

    def set_state(self, job: str, state: DrawJobState, error: str = "") -> None:
        """Note how far a job is."""
        ended = None if state in ACTIVE else time.time()
        with self._database.writing() as db:
            db.execute("UPDATE jobs SET state = ?, error = ?, ended = ? WHERE id = ?", (state, error, ended, job))


def _job(row: sqlite3.Row) -> DrawJob:
    return DrawJob(
        row["id"], row["caller"], parse_json(row["drawing"]), row["state"], row["error"], row["charge"],
        row["added"], row["ended"],
    )  # fmt: skip
