"""The job queue: recipes that wait to be trained, in one SQLite file that many processes may use at once.

A job is a copy of a recipe, made when it was added, and the run folder that it trains in; `run_jobs` runs it.
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

JobState = Literal["waiting", "running", "done", "failed", "stopped"]
"""`stopped` jobs were cancelled and can be resumed."""

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
"""How long to wait while another process writes; a write takes milliseconds."""


def default_path() -> Path:
    """Return `$BAKEHOUSE_QUEUE`, or `queue.db` in the user's data folder."""
    if own := os.environ.get("BAKEHOUSE_QUEUE"):
        return Path(own)
    return data_dir("queue.db")


@dataclass(frozen=True)
class Job:
    """One job; times are in seconds since the epoch."""

    id: int
    name: str
    recipe: str
    """The recipe when the job was added: TOML with absolute paths."""
    run: Path
    state: JobState
    halt: bool
    """The job is to be stopped; the scheduler has not done it yet."""
    device: str
    """The device it runs on, or ran on last."""
    error: str
    """Why it failed; empty in other states."""
    added: float
    started: float | None
    ended: float | None
    recipe_sha256: str
    """Hash of `recipe` when the job was added; empty in jobs that earlier versions added."""

    @property
    def is_intact(self) -> bool:
        """Whether the stored recipe has the hash that it had when it was added."""
        return self.recipe_sha256 in ("", sha256_bytes(self.recipe.encode()))


class JobQueue:
    """Jobs in the order in which they will run. Any number of processes and threads may use the same file.

    Args:
        path: the SQLite file, made when the first job is added; default: `default_path()`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose statements take effect together or not at all."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)
        except (OSError, sqlite3.Error) as e:
            raise BakehouseError(f"cannot open the queue {self.path}: {e}", hint="name another: --queue FILE") from e
        # A recipe with invalid UTF-8 can still be listed; `is_intact` reports the damage.
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
                    hint="restore it from a backup, or move it away and add its jobs again: their runs will be resumed",
                ) from e
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def jobs(self) -> list[Job]:
        """Return all jobs in the order in which they run or ran."""
        if not self.path.is_file():
            return []
        with self._transaction() as db:
            return [_job_from_row(row) for row in db.execute(f"SELECT {_COLUMNS} FROM jobs ORDER BY place, id")]

    def job(self, job: int) -> Job:
        """Return one job.

        Raises:
            UsageError: the queue has no such job.
        """
        with self._transaction() as db:
            return _job_with_id(db, job)

    def add(self, name: str, recipe: str, run: Path) -> Job:
        """Add a job at the end and return it.

        Args:
            name: shown in lists and messages; need not be unique.
            recipe: TOML with absolute paths.
            run: run folder; made when the job starts, resumed if it holds a run.

        Raises:
            UsageError: another job of the queue has this run folder.
        """
        run = run.resolve()
        with self._transaction() as db:
            taken = db.execute("SELECT id, state FROM jobs WHERE run = ?", (str(run),)).fetchone()
            if taken:
                raise UsageError(
                    f"run folder {run} belongs to job {taken[0]} ({taken[1]})",
                    hint=f"name another with --run, or remove that job: bakehouse queue remove {taken[0]}",
                )
            (last,) = db.execute("SELECT COALESCE(MAX(place), 0) FROM jobs").fetchone()
            row = (last + 1, name, recipe, sha256_bytes(recipe.encode()), str(run), time.time())
            columns = "place, name, recipe, recipe_sha256, run, added"
            added = db.execute(f"INSERT INTO jobs ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)
            return _job_with_id(db, int(added.lastrowid or 0))

    def move(self, job: int, position: int) -> Job:
        """Move a waiting job to a position among the waiting jobs, counted from 1, and return it.

        Raises:
            UsageError: no such job, the job is not waiting, or the position is below 1.
        """
        if position < 1:
            raise UsageError(f"position {position}: must be 1 or more (1 runs next)")
        with self._transaction() as db:
            _check_state(_job_with_id(db, job), "waiting")
            others = "SELECT id, place FROM jobs WHERE state = 'waiting' AND id != ? ORDER BY place, id"
            order = [int(i) for i, _ in db.execute(others, (job,))]
            order.insert(min(position - 1, len(order)), job)
            (first,) = db.execute("SELECT MIN(place) FROM jobs WHERE state = 'waiting'").fetchone()
            # Ended jobs may have places in between: only the order of the waiting ones matters.
            db.executemany("UPDATE jobs SET place = ? WHERE id = ?", [(first + k, i) for k, i in enumerate(order)])
            return _job_with_id(db, job)

    def replace_recipe(self, job: int, recipe: str) -> Job:
        """Give a job that has not begun another recipe, and return it.

        Raises:
            UsageError: no such job, or the job has begun.
        """
        with self._transaction() as db:
            found = _job_with_id(db, job)
            _check_state(found, "waiting", "stopped")
            if found.started is not None:
                raise UsageError(f"job {job} has begun: its recipe stays", hint="add another job with the new recipe")
            change = "UPDATE jobs SET recipe = ?, recipe_sha256 = ? WHERE id = ?"
            db.execute(change, (recipe, sha256_bytes(recipe.encode()), job))
            return _job_with_id(db, job)

    def remove(self, job: int) -> None:
        """Remove a job from the queue; its run folder stays.

        Raises:
            UsageError: no such job, or the job is running.
        """
        with self._transaction() as db:
            if _job_with_id(db, job).state == "running":
                raise UsageError(f"job {job} is running", hint=f"stop it first: bakehouse queue stop {job}")
            db.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def stop(self, job: int) -> Job:
        """Cancel a job and return it: a waiting one is stopped now, a running one as soon as its scheduler sees it.

        Its run folder stays, with what it has learned; `resume` lets it run again.

        Raises:
            UsageError: no such job, or the job has ended.
        """
        with self._transaction() as db:
            found = _job_with_id(db, job)
            _check_state(found, "waiting", "running", "stopped")
            if found.state == "running":
                db.execute("UPDATE jobs SET halt = 1 WHERE id = ?", (job,))
            else:
                db.execute("UPDATE jobs SET state = 'stopped' WHERE id = ?", (job,))
            return _job_with_id(db, job)

    def resume(self, job: int) -> Job:
        """Let a stopped or failed job wait again, in its old place, and return it; its training will be resumed.

        Raises:
            UsageError: no such job, or the job is running or done.
        """
        with self._transaction() as db:
            found = _job_with_id(db, job)
            if found.state == "running" and found.halt:
                db.execute("UPDATE jobs SET halt = 0 WHERE id = ?", (job,))
            else:
                _check_state(found, "stopped", "failed", "waiting")
                db.execute("UPDATE jobs SET state = 'waiting', error = '' WHERE id = ?", (job,))
            return _job_with_id(db, job)

    # --- for schedulers ---

    def claim_next(self, device: str) -> Job | None:
        """Mark the first waiting job as running on `device` and return it; None if no job waits.

        Of several callers at once, each gets another job.
        """
        with self._transaction() as db:
            first = "SELECT id FROM jobs WHERE state = 'waiting' ORDER BY place, id LIMIT 1"
            row = db.execute(first).fetchone()
            if row is None:
                return None
            begin = "UPDATE jobs SET state = 'running', halt = 0, device = ?, started = ?, ended = NULL WHERE id = ?"
            db.execute(begin, (device, time.time(), row[0]))
            return _job_with_id(db, row[0])

    def finish(self, job: int, state: JobState, error: str = "") -> Job:
        """Set the state of a job that no longer runs, and return it; `waiting` lets it run again."""
        with self._transaction() as db:
            end = "UPDATE jobs SET state = ?, error = ?, halt = 0, ended = ? WHERE id = ?"
            db.execute(end, (state, error, time.time() if state != "waiting" else None, job))
            return _job_with_id(db, job)

    def requeue_orphans(self, device: str) -> list[Job]:
        """Let jobs wait again that are marked as running on `device` although their scheduler has died; return them.

        Only the holder of the device's lock may call this.
        """
        with self._transaction() as db:
            lost = db.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE state = 'running' AND device = ?", (device,)
            ).fetchall()
            jobs = [_job_from_row(row) for row in lost]
            for job in jobs:
                state = "stopped" if job.halt else "waiting"
                db.execute("UPDATE jobs SET state = ?, halt = 0 WHERE id = ?", (state, job.id))
            return jobs


def _job_with_id(db: sqlite3.Connection, job: int) -> Job:
    fits = abs(job) < 1 << 63  # the range of integers in SQLite
    row = db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job,)).fetchone() if fits else None
    if row is None:
        known = [str(i) for (i,) in db.execute("SELECT id FROM jobs ORDER BY id")]
        hint = f"its jobs: {', '.join(known)}" if known else "it is empty; add a job with: bakehouse queue add RECIPE"
        raise UsageError(f"the queue has no job {job}", hint=hint)
    return _job_from_row(row)


def _job_from_row(row: tuple[object, ...]) -> Job:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    return Job(**values | {"run": Path(str(values["run"])), "halt": bool(values["halt"])})  # type: ignore[arg-type]


def _check_state(job: Job, *states: JobState) -> None:
    if job.state not in states:
        raise UsageError(f"job {job.id} is {job.state}; it must be {' or '.join(states)}")
