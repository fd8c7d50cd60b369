"""What visitors of shares have drawn: counted by share and by address, in days and months of UTC."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from bakehouse.serve.store.database import Database
from bakehouse.serve.store.shares import Share
from bakehouse.serve.store.usage import insert_reservation

Whose = Literal["share", "address"]
Period = Literal["day", "month"]
_DAY = 24 * 3600


@dataclass(frozen=True)
class Left:
    """What remains of one limit."""

    whose: Whose
    """All visitors' together, or this address'."""
    period: Period
    limit: int
    used: int
    reset: int
    """Seconds until it begins anew."""

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


class ShareQuotaError(Exception):
    """A picture that would go beyond a limit."""

    def __init__(self, limit: Left) -> None:
        whose = "this page's" if limit.whose == "share" else "your"
        super().__init__(f"{whose} {limit.limit:,} pictures of this {limit.period} are used")
        self.limit = limit


class TooManyAtOnceError(Exception):
    """An address that has as many unfinished pictures as it may have."""


class ShareUsage:
    """The pictures of shares as quotas count them. Addresses are kept as hashes, for as long as they count.

    A picture that fails or is canceled before it is begun is refunded in the ledger, and no longer counts here.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def reserve(self, share: Share, address: str, *, model: str, characters: int, at_once: int) -> int:
        """Note a picture, if all limits allow it; returns the number of its entry in the ledger.

        Raises:
            ShareQuotaError: nothing is noted.
            TooManyAtOnceError: the address has `at_once` unfinished pictures.
        """
        now = self._clock()
        with self._database.writing() as db:
            for limit in self._limits(db, share, address):
                if not limit.left:
                    raise ShareQuotaError(limit)
            asked = (
                "SELECT COUNT(*) FROM share_draws JOIN usage ON usage.id = share_draws.charge "
                "WHERE share = ? AND address = ? AND usage.status = 'reserved'"
            )
            if db.execute(asked, (share.id, address)).fetchone()[0] >= at_once:
                raise TooManyAtOnceError
            charge = insert_reservation(
                db, share.caller, now, dialect="share", model=model, characters=characters, pictures=1
            )
            row = (charge, share.id, address, day_of(now))
            db.execute("INSERT INTO share_draws (charge, share, address, day) VALUES (?, ?, ?, ?)", row)
            db.execute("DELETE FROM share_draws WHERE day < ?", (f"{day_of(now)[:7]}-01",))
            return charge

    def left(self, share: Share, address: str) -> list[Left]:
        """Return what remains of each limit."""
        with self._database.reading() as db:
            return self._limits(db, share, address)

    def drawn(self, share: Share) -> dict[Period, int]:
        """Return the pictures of all visitors today and this month."""
        today = day_of(self._clock())
        with self._database.reading() as db:
            return {"day": _count(db, share.id, None, today), "month": _count(db, share.id, None, today[:7])}

    def _limits(self, db: sqlite3.Connection, share: Share, address: str) -> list[Left]:
        now, settings = self._clock(), share.settings
        today = day_of(now)
        rows: tuple[tuple[Whose, Period, int | None], ...] = (
            ("address", "day", settings.address_day), ("share", "day", settings.day),
            ("address", "month", settings.address_month), ("share", "month", settings.month),
        )  # fmt: skip
        return [
            Left(
                whose, period, limit,
                _count(db, share.id, address if whose == "address" else None, today if period == "day" else today[:7]),
                seconds_to_next(period, now),
            )
            for whose, period, limit in rows
            if limit is not None
        ]  # fmt: skip


def day_of(seconds: float) -> str:
    """Return the day in UTC of a time in seconds since the epoch: `2026-11-30`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def seconds_to_next(period: Period, now: float) -> int:
    """Return the seconds until the next day or month in UTC begins."""
    moment = datetime.fromtimestamp(now, UTC)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return max(1, int(midnight.timestamp() + _DAY - now))
    following = midnight.replace(day=1, year=moment.year + moment.month // 12, month=moment.month % 12 + 1)
    return max(1, int(following.timestamp() - now))


def _count(db: sqlite3.Connection, share: int, address: str | None, begins: str) -> int:
    """Count the pictures whose day begins with a text: a day, or a month."""
    asked = (
        "SELECT COUNT(*) FROM share_draws JOIN usage ON usage.id = share_draws.charge "
        "WHERE share = ?1 AND (?2 IS NULL OR address = ?2) AND substr(day, 1, ?4) = ?3 AND usage.status <> 'refunded'"
    )
    return int(db.execute(asked, (share, address, begins, len(begins))).fetchone()[0])
