"""The ledger of what callers have used: reserved before the work, settled after it, refunded if it fails."""

from __future__ import annotations

import csv
import io
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from bakehouse.serve.store.database import Database
from bakehouse.serve.store.tokens import Quota

_COLUMNS = ("id", "time", "caller", "token", "dialect", "model", "characters", "pictures", "seconds", "status")


@dataclass(frozen=True)
class Used:
    """What a caller has used in a month, reservations included."""

    characters: int
    pictures: int


class QuotaExceededError(Exception):
    """A reservation that would go beyond the month's quota."""

    def __init__(self, what: str, used: int, limit: int) -> None:
        super().__init__(f"{used:,} of {limit:,} {what} of this month are used")
        self.what = what
        """`characters` or `pictures`."""
        self.used = used
        self.limit = limit


class Ledger:
    """The usage of one database. Months are calendar months in UTC."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def reserve(self, caller: str, quota: Quota, *, dialect: str, model: str, characters: int, pictures: int) -> int:
        """Note what a request will use, if the quota allows it; returns the number of the entry.

        Raises:
            QuotaExceededError: nothing is noted.
        """
        now = self._clock()
        with self._database.writing() as db:
            asked = "SELECT COALESCE(SUM(characters), 0), COALESCE(SUM(pictures), 0) FROM usage"
            used = db.execute(f"{asked} WHERE caller = ? AND month = ?", (caller, month_of(now))).fetchone()
            for what, before, more, limit in (
                ("characters", used[0], characters, quota.characters_per_month),
                ("pictures", used[1], pictures, quota.pictures_per_month),
            ):
                if limit is not None and before + more > limit:
                    raise QuotaExceededError(what, before, limit)
            return insert_reservation(
                db, caller, now, dialect=dialect, model=model, characters=characters, pictures=pictures
            )

    def settle(self, entry: int, *, pictures: int, seconds: float) -> None:
        """Note what was used in the end."""
        with self._database.writing() as db:
            change = "UPDATE usage SET status = 'done', pictures = ?, seconds = ? WHERE id = ?"
            db.execute(change, (pictures, seconds, entry))

    def refund(self, entry: int) -> None:
        """Give back what was reserved for a request that failed."""
        with self._database.writing() as db:
            db.execute("UPDATE usage SET status = 'refunded', characters = 0, pictures = 0 WHERE id = ?", (entry,))

    def refund_unfinished(self) -> int:
        """Give back the reservations of a server that was killed, except those of jobs that will go on."""
        with self._database.writing() as db:
            kept = "SELECT charge FROM jobs WHERE state IN ('waiting', 'running') AND charge IS NOT NULL"
            change = "UPDATE usage SET status = 'refunded', characters = 0, pictures = 0 WHERE status = 'reserved'"
            return db.execute(f"{change} AND id NOT IN ({kept})").rowcount

    def used(self, caller: str) -> Used:
        """Return what a caller has used this month."""
        with self._database.reading() as db:
            asked = "SELECT COALESCE(SUM(characters), 0), COALESCE(SUM(pictures), 0) FROM usage"
            row = db.execute(f"{asked} WHERE caller = ? AND month = ?", (caller, month_of(self._clock()))).fetchone()
        return Used(int(row[0]), int(row[1]))

    def seconds_to_next_month(self) -> int:
        """Return the seconds until quotas begin anew."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        following = first.replace(year=now.year + now.month // 12, month=now.month % 12 + 1)
        return max(1, int((following - now).total_seconds()))

    def rows(self, caller: str | None = None, *, month: str | None = None) -> list[dict[str, object]]:
        """Return the entries of a caller, or of all, oldest first."""
        wanted = [("caller = ?", caller), ("month = ?", month)]
        given = [(clause, value) for clause, value in wanted if value is not None]
        where = f"WHERE {' AND '.join(clause for clause, _ in given)}" if given else ""
        names = (
            "COALESCE((SELECT name FROM tokens WHERE 'token:' || tokens.id = usage.caller), "
            "(SELECT 'share ' || name FROM shares WHERE 'share:' || shares.id = usage.caller), usage.caller) AS token"
        )
        columns = ", ".join(name for name in _COLUMNS if name != "token")
        with self._database.reading() as db:
            found = db.execute(
                f"SELECT {columns}, {names} FROM usage {where} ORDER BY id", [value for _, value in given]
            )
            return [{name: row[name] for name in _COLUMNS} for row in found]


def insert_reservation(
    db: sqlite3.Connection, caller: str, now: float, *, dialect: str, model: str, characters: int, pictures: int
) -> int:
    """Note a reservation inside a transaction; returns the number of the entry. Limits are the caller's to check."""
    row = (caller, now, month_of(now), dialect, model, characters, pictures)
    columns = "caller, time, month, dialect, model, characters, pictures, status"
    added = db.execute(f"INSERT INTO usage ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, 'reserved')", row)
    return int(added.lastrowid or 0)


def month_of(seconds: float) -> str:
    """Return the calendar month in UTC of a time in seconds since the epoch: `2026-11`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m")


def usage_csv(rows: list[dict[str, object]]) -> str:
    """Return entries as CSV with a header; times in ISO 8601, UTC."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS)
    writer.writeheader()
    for row in rows:
        moment = datetime.fromtimestamp(float(str(row["time"])), UTC).isoformat(timespec="seconds")
        writer.writerow({**row, "time": moment, "token": _no_formula(str(row["token"]))})
    return out.getvalue()


def _no_formula(text: str) -> str:
    """Return text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
