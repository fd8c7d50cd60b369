"""Visitors of shares: who comes by a share's link, from where, and how often."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bakehouse.core.files import sha256_bytes
from bakehouse.serve.errors import ServeError, bad_request
from bakehouse.serve.guard.callers import Caller
from bakehouse.serve.store.shares import Share, Shares

VISITOR_HEADER = "X-Visitor"
"""Has the secret by which a browser's own pictures are known; a header, so that no other page can send it."""
_SECRET = re.compile(r"[A-Za-z0-9_-]{32,64}")
_MINUTE = 60.0
_MOST_ADDRESSES = 10_000
Deed = Literal["draw", "report", "other"]
A_MINUTE: dict[Deed, int] = {"draw": 20, "report": 10, "other": 1200}
"""Requests that an address may send to a share in a minute; opening the page takes some thirty."""


@dataclass(frozen=True)
class Visitor:
    """Whoever has opened a share's link."""

    share: Share
    address: str
    """A hash of the address, another one at each share."""
    secret: str | None
    """A hash of the browser's secret; None: it has sent none."""

    @property
    def caller(self) -> Caller:
        """The share as a caller, for logs and the queue. It has no scope, so no other route lets it in."""
        return Caller(self.share.caller, f"share {self.share.name}", frozenset())

    @property
    def own(self) -> str:
        """The hash of the browser's secret.

        Raises:
            ServeError: it has sent none (400).
        """
        if self.secret is None:
            raise bad_request(f"the header {VISITOR_HEADER} is missing", hint="send 32 to 64 letters, digits, - or _")
        return self.secret


class VisitorGate:
    """Finds out which share a visitor has come to, and counts requests."""

    def __init__(self, shares: Shares, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._shares, self._clock = shares, clock
        self._counted: dict[tuple[int, str, Deed], tuple[float, int]] = {}
        """When each minute began, and the requests in it."""

    def visitor(self, link: str, address: str, secret: str | None) -> Visitor:
        """Return who comes.

        Args:
            link: the secret part of the address.
            address: where the request comes from.
            secret: the header `X-Visitor`.

        Raises:
            ServeError: there is no such share (404), it is over (410), or a secret that cannot be one (400).
        """
        share = self._shares.find(link)
        if share is None:
            raise ServeError(404, "no_such_share", "this link leads nowhere", hint="ask who sent it for another")
        if share.is_over(time.time()):
            raise ServeError(410, "share_over", "this page is no longer open", hint="ask who sent the link for another")
        if secret is not None and not _SECRET.fullmatch(secret):
            raise bad_request(f"the header {VISITOR_HEADER} must have 32 to 64 letters, digits, - or _")
        own = None if secret is None else _hashed(share, secret)
        return Visitor(share, _hashed(share, network_of(address)), own)

    def count(self, visitor: Visitor, deed: Deed) -> None:
        """Count a request of the last minute.

        Raises:
            ServeError: too many (429).
        """
        now, limit = self._clock(), A_MINUTE[deed]
        if len(self._counted) > _MOST_ADDRESSES:
            self._counted = {key: one for key, one in self._counted.items() if one[0] > now - _MINUTE}
        key = (visitor.share.id, visitor.address, deed)
        began, requests = self._counted.get(key, (now, 0))
        if began <= now - _MINUTE:
            began, requests = now, 0
        if requests >= limit:
            wait = began + _MINUTE - now
            raise ServeError(429, "rate_limited", f"{limit} requests a minute are allowed", retry_after=wait)
        self._counted[key] = began, requests + 1


def network_of(address: str) -> str:
    """Return what counts as one address: an IPv4 address, or the 64 bits of IPv6 that one household has."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _hashed(share: Share, text: str) -> str:
    return sha256_bytes(f"{share.link}:{text}".encode())
