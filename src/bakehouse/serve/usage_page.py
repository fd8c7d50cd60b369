"""The page of usage: what each token has used in a month, and by which model and API."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TypeVar

from bakehouse.core.html_pages import render
from bakehouse.core.units import duration
from bakehouse.serve.errors import bad_request
from bakehouse.serve.store.store import Store
from bakehouse.serve.store.tokens import Token
from bakehouse.serve.store.usage import month_of

Key = TypeVar("Key")
USAGE_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


@dataclass
class _Sum:
    requests: int = 0
    pictures: int = 0
    characters: int = 0
    seconds: float = 0.0
    refunded: int = 0

    def add(self, row: dict[str, object]) -> None:
        self.requests += 1
        self.pictures += int(str(row["pictures"]))
        self.characters += int(str(row["characters"]))
        self.seconds += float(str(row["seconds"]))
        self.refunded += row["status"] == "refunded"

    @property
    def time(self) -> str:
        return duration(self.seconds)


def usage_html(store: Store, month: str | None = None) -> str:
    """Return the page of a month; None: this one, in UTC.

    Raises:
        ServeError: `month` is not like 2026-11 (400).
    """
    month = month or month_of(time.time())
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month):
        raise bad_request(f"month = {month[:20]!r}: write it like 2026-11")
    by_token: dict[str, _Sum] = defaultdict(_Sum)
    by_model: dict[tuple[str, str], _Sum] = defaultdict(_Sum)
    for row in store.ledger.rows(month=month):
        by_token[str(row["token"])].add(row)
        by_model[str(row["model"]), str(row["dialect"])].add(row)
    tokens = {token.name: token for token in store.tokens.all()}
    return render(
        "bakehouse.serve",
        "usage_page.html.j2",
        title=f"Usage in {month}",
        month=month,
        others=_around(month),
        tokens=[(name, found, _left(tokens.get(name), found)) for name, found in _most(by_token)],
        models=[(model, dialect, found) for (model, dialect), found in _most(by_model)],
    )


def _most(sums: dict[Key, _Sum]) -> list[tuple[Key, _Sum]]:
    return sorted(sums.items(), key=lambda pair: -pair[1].pictures)


def _left(token: Token | None, used: _Sum) -> str:
    """Return what a token may still use in the month."""
    if token is None:
        return ""
    if token.revoked is not None:
        return "revoked"
    quota = token.quota
    limits = (
        (quota.pictures_per_month, used.pictures, "images"),
        (quota.characters_per_month, used.characters, "characters"),
    )
    parts = [f"{max(0, limit - spent):,} of {limit:,} {what}" for limit, spent, what in limits if limit is not None]
    return ", ".join(parts) or "no limit"


def _around(month: str) -> list[str]:
    """Return the months before and after one."""
    year, number = map(int, month.split("-"))
    places = [year * 12 + number - 1 + step for step in (-1, 1)]
    return [f"{place // 12:04d}-{place % 12 + 1:02d}" for place in places]
