"""The queue: recipes that wait their turn, in one SQLite file that survives whatever happens to the processes.

A job is a recipe, frozen when it was added, and the run folder that it fills. Nothing here trains: `worker.work` takes
jobs out and runs each as a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import data_dir, sha256_bytes

State = Literal["waiting", "running", "done", "failed", "stopped"]

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    place REAL NOT NULL,
    name TEXT NOT NULL,
    recipe TEXT NOT NULL,
    run TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'waiting',
    halt INTEGER NOT NULL DEFAULT 0,
    device TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    added REAL NOT NULL,
    started REAL,
    ended REAL,
    recipe_sha256 TEXT NOT NULL DEFAULT ''
)
"""
_COLUMNS = "id, name, recipe, run, state, halt, device, error, added, started, ended, recipe_sha256"
_ADDED_LATER = "ALTER TABLE jobs ADD COLUMN recipe_sha256 TEXT NOT NULL DEFAULT ''"
_WAIT_SECONDS = 30.0
"""For another process that writes; a write takes milliseconds."""


def default_path() -> Path:
    """`$BAKEHOUSE_QUEUE`, else `queue.db` in the user's data folder."""
    if own := os.environ.get("BAKEHOUSE_QUEUE"):
        return Path(own)
    return data_dir("queue.db")


@dataclass(frozen=True)
class Job:
    """One row of the queue; times are seconds since the epoch."""

    id: int
    name: str
    recipe: str
    """TOML with absolute paths, as it was when the job was added."""
    run: Path
    state: State
    halt: bool
    """Somebody has asked to stop it; the worker has not got there yet."""
    device: str
    """Where it runs, or ran last."""
    error: str
    added: float
    started: float | None
    ended: float | None
    recipe_sha256: str
    """Of `recipe` when the job was added; empty in jobs of earlier versions."""

    @property
    def is_whole(self) -> bool:
        """Whether the recipe is what was added."""
        return self.recipe_sha256 in ("", sha256_bytes(self.recipe.encode()))


class JobQueue:
    """The jobs, in the order in which they will be run. Any number of processes may hold the same file open."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One change that others see whole or not at all."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)
        except (OSError, sqlite3.Error) as e:
            raise BakehouseError(f"cannot open the queue {self.path}: {e}", hint="name another with --queue") from e
        # A damaged text is shown as well as can be, not refused.
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        with contextlib.closing(connection):
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(_TABLE)
                if "recipe_sha256" not in [row[1] for row in connection.execute("PRAGMA table_info(jobs)")]:
                    connection.execute(_ADDED_LATER)
                yield connection
                connection.execute("COMMIT")
            except (sqlite3.DatabaseError, UnicodeDecodeError) as e:
                raise BakehouseError(
                    f"the queue {self.path} cannot be used: {e}",
                    hint="restore it from a copy, or move it away and add its jobs again: their runs are resumed",
                ) from e
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def jobs(self) -> list[Job]:
        """All jobs: those that wait in their order, the others by when they began."""
        if not self.path.is_file():
            return []
        with self._change() as db:
            return [_job(row) for row in db.execute(f"SELECT {_COLUMNS} FROM jobs ORDER BY place, id")]

    def job(self, job: int) -> Job:
        """One job.

        Raises:
            UsageError: there is none of this number.
        """
        with self._change() as db:
            return _find(db, job)

    def add(self, name: str, recipe: str, run: Path) -> Job:
        """Puts a job at the end.

        Args:
            name: what to call it.
            recipe: TOML whose paths are absolute.
            run: the run folder; made when the job starts, gone on with if it is there.

        Raises:
            UsageError: another job of the queue fills this run folder.
        """
        run = run.resolve()
        with self._change() as db:
            taken = db.execute("SELECT id, state FROM jobs WHERE run = ?", (str(run),)).fetchone()
            if taken:
                raise UsageError(
                    f"job {taken[0]} ({taken[1]}) has the run folder {run} already",
                    hint=f"name another with --run, or take that job out: bakehouse queue remove {taken[0]}",
                )
            (last,) = db.execute("SELECT COALESCE(MAX(place), 0) FROM jobs").fetchone()
            row = (last + 1, name, recipe, sha256_bytes(recipe.encode()), str(run), time.time())
            columns = "place, name, recipe, recipe_sha256, run, added"
            added = db.execute(f"INSERT INTO jobs ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)
            return _find(db, int(added.lastrowid or 0))

    def move(self, job: int, place: int) -> Job:
        """Makes a waiting job the `place`-th of those that wait, counted from 1.

        Raises:
            UsageError: no such job, it does not wait, or the place is below 1.
        """
        if place < 1:
            raise UsageError(f"place {place}: the first is 1")
        with self._change() as db:
            _expect(_find(db, job), "waiting")
            others = "SELECT id, place FROM jobs WHERE state = 'waiting' AND id != ? ORDER BY place, id"
            order = [int(i) for i, _ in db.execute(others, (job,))]
            order.insert(min(place - 1, len(order)), job)
            (first,) = db.execute("SELECT MIN(place) FROM jobs WHERE state = 'waiting'").fetchone()
            # Places of jobs that have ended may lie between: what counts is the order of those that wait.
            db.executemany("UPDATE jobs SET place = ? WHERE id = ?", [(first + k, i) for k, i in enumerate(order)])
            return _find(db, job)

    def remove(self, job: int) -> None:
        """Takes a job out; its run folder stays.

        Raises:
            UsageError: no such job, or it is running.
        """
        with self._change() as db:
            if _find(db, job).state == "running":
                raise UsageError(f"job {job} is running", hint=f"stop it first: bakehouse queue stop {job}")
            db.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def stop(self, job: int) -> Job:
        """Holds a waiting job back, or asks a running one to stop; what it has learned stays in its run folder.

        Raises:
            UsageError: no such job, or it has ended.
        """
        with self._change() as db:
            found = _find(db, job)
            _expect(found, "waiting", "running", "stopped")
            if found.state == "running":
                db.execute("UPDATE jobs SET halt = 1 WHERE id = ?", (job,))
            else:
                db.execute("UPDATE jobs SET state = 'stopped' WHERE id = ?", (job,))
            return _find(db, job)

    def resume(self, job: int) -> Job:
        """Lets a stopped or failed job wait again, in its old place: it goes on where it was.

        Raises:
            UsageError: no such job, or it is running or done.
        """
        with self._change() as db:
            found = _find(db, job)
            if found.state == "running" and found.halt:
                db.execute("UPDATE jobs SET halt = 0 WHERE id = ?", (job,))
            else:
                _expect(found, "stopped", "failed", "waiting")
                db.execute("UPDATE jobs SET state = 'waiting', error = '' WHERE id = ?", (job,))
            return _find(db, job)

    # What only a worker does

    def take(self, device: str) -> Job | None:
        """Marks the first waiting job as running on `device`, and returns it; no two workers get the same."""
        with self._change() as db:
            first = "SELECT id FROM jobs WHERE state = 'waiting' ORDER BY place, id LIMIT 1"
            row = db.execute(first).fetchone()
            if row is None:
                return None
            begin = "UPDATE jobs SET state = 'running', halt = 0, device = ?, started = ?, ended = NULL WHERE id = ?"
            db.execute(begin, (device, time.time(), row[0]))
            return _find(db, row[0])

    def end(self, job: int, state: State, error: str = "") -> Job:
        """Notes how a running job ended; `waiting` gives it back."""
        with self._change() as db:
            end = "UPDATE jobs SET state = ?, error = ?, halt = 0, ended = ? WHERE id = ?"
            db.execute(end, (state, error, time.time() if state != "waiting" else None, job))
            return _find(db, job)

    def reclaim(self, device: str) -> list[Job]:
        """Lets jobs wait again whose worker on `device` is gone; only for who holds the device's lock."""
        with self._change() as db:
            lost = db.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE state = 'running' AND device = ?", (device,)
            ).fetchall()
            jobs = [_job(row) for row in lost]
            for job in jobs:
                state = "stopped" if job.halt else "waiting"
                db.execute("UPDATE jobs SET state = ?, halt = 0 WHERE id = ?", (state, job.id))
            return jobs


def _find(db: sqlite3.Connection, job: int) -> Job:
    fits = abs(job) < 1 << 63  # of a number in SQLite
    row = db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job,)).fetchone() if fits else None
    if row is None:
        known = [str(i) for (i,) in db.execute("SELECT id FROM jobs ORDER BY id")]
        raise UsageError(f"the queue has no job {job}", hint=f"it has: {', '.join(known) or 'none'}")
    return _job(row)


def _job(row: tuple[object, ...]) -> Job:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    return Job(**values | {"run": Path(str(values["run"])), "halt": bool(values["halt"])})  # type: ignore[arg-type]


def _expect(job: Job, *states: State) -> None:
    if job.state not in states:
        raise UsageError(f"job {job.id} is {job.state}; this is for jobs that are {' or '.join(states)}")
