"""Quotas: requests a minute, requests at once, characters and pictures a month; and the headers that tell them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from bakehouse.serve.errors import ServeError
from bakehouse.serve.guard.callers import Caller
from bakehouse.serve.store.usage import Ledger, QuotaExceededError
from bakehouse.serve.work.drawing import Drawing

_MINUTE = 60.0
_MONTH_SECONDS = 2_592_000
"""30 days, as policies name a month."""


@dataclass
class Charge:
    """What a request is charged; settled with what it has used when it succeeds."""

    entry: int
    pictures: int
    seconds: float = 0.0
    outlives_request: bool = False
    """The job goes on after the answer: whoever ends it settles or refunds."""


class Quotas:
    """The quotas of one server."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.ledger, self._clock = ledger, clock
        self._times: dict[str, deque[float]] = {}
        self._at_once: dict[str, int] = {}

    def count_request(self, caller: Caller) -> None:
        """Count a request of the last minute.

        Raises:
            ServeError: too many (429).
        """
        limit = caller.quota.requests_per_minute
        if limit is None:
            return
        now = self._clock()
        times = self._times.setdefault(caller.key, deque())
        while times and times[0] <= now - _MINUTE:
            times.popleft()
        if len(times) >= limit:
            wait = times[0] + _MINUTE - now
            headers = rate_limit_headers("requests", remaining=0, reset=wait, limit=limit, window=60)
            message = f"{limit} requests a minute are allowed"
            raise ServeError(429, "rate_limited", message, retry_after=wait, headers=headers)
        times.append(now)

    @contextlib.asynccontextmanager
    async def charge(self, caller: Caller, drawing: Drawing, dialect: str) -> AsyncIterator[Charge]:
        """Reserve what a drawing uses; settled at the end of the `with` block, refunded if it raises.

        Raises:
            ServeError: too many requests at once, or the month's quota is used up (429).
        """
        limit = caller.quota.concurrent
        now = self._at_once.get(caller.key, 0)
        if limit is not None and now >= limit:
            raise ServeError(
                429, "too_many_at_once", f"{limit} requests at once are allowed, and {now} are running", retry_after=5.0
            )
        self._at_once[caller.key] = now + 1
        try:
            charge = Charge(await self._reserve(caller, drawing, dialect), drawing.request.count)
            try:
                yield charge
            except BaseException:
                if not charge.outlives_request:
                    await asyncio.shield(asyncio.to_thread(self.ledger.refund, charge.entry))
                raise
            if not charge.outlives_request:
                settled = asyncio.to_thread(
                    self.ledger.settle, charge.entry, pictures=charge.pictures, seconds=charge.seconds
                )
                await asyncio.shield(settled)
        finally:
            self._at_once[caller.key] -= 1
            if not self._at_once[caller.key]:
                del self._at_once[caller.key]

    async def headers(self, caller: Caller) -> dict[str, str]:
        """Return the RateLimit headers of an answer: of the month's quota that is nearest to its end."""
        quota = caller.quota
        if quota.characters_per_month is None and quota.pictures_per_month is None:
            return {}
        used = await asyncio.to_thread(self.ledger.used, caller.key)
        rows = [
            ("characters", quota.characters_per_month, used.characters),
            ("pictures", quota.pictures_per_month, used.pictures),
        ]
        limited = [(what, limit, limit - spent) for what, limit, spent in rows if limit is not None]
        what, limit, left = min(limited, key=lambda row: row[2] / row[1])
        reset = self.ledger.seconds_to_next_month()
        return rate_limit_headers(what, remaining=max(0, left), reset=reset, limit=limit, window=_MONTH_SECONDS)

    async def _reserve(self, caller: Caller, drawing: Drawing, dialect: str) -> int:
        try:
            return await asyncio.to_thread(
                self.ledger.reserve,
                caller.key,
                caller.quota,
                dialect=dialect,
                model=drawing.model,
                characters=drawing.characters,
                pictures=drawing.request.count,
            )
        except QuotaExceededError as e:
            reset = self.ledger.seconds_to_next_month()
            # 0, whatever is left: that a shorter prompt might still fit is not what a client retries with.
            headers = rate_limit_headers(e.what, remaining=0, reset=reset, limit=e.limit, window=_MONTH_SECONDS)
            raise ServeError(429, "quota_exceeded", str(e), retry_after=reset, headers=headers) from e


def rate_limit_headers(what: str, *, remaining: int, reset: float, limit: int, window: int) -> dict[str, str]:
    """Return the headers of draft-ietf-httpapi-ratelimit-headers-09, in the form that huggingface_hub prints.

    Args:
        what: the name of what is limited.
        remaining: how much is left of it.
        reset: seconds until the quota begins anew.
        limit: the quota.
        window: seconds for which it is.
    """
    return {
        "RateLimit": f'"{what}";r={remaining};t={max(1, round(reset))}',
        "RateLimit-Policy": f'"fixed window";"{what}";q={limit};w={window}',
    }
