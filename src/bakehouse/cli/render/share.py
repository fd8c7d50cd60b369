"""Output of `bakehouse share`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, stderr_console
from bakehouse.cli.render.safe_printing import echo

if TYPE_CHECKING:
    from bakehouse.serve.store.pictures import StoredPicture
    from bakehouse.serve.store.share_pictures import SharePicture
    from bakehouse.serve.store.share_usage import Period
    from bakehouse.serve.store.shares import Share


def print_share(share: Share, url: str, *, json: bool) -> None:
    """Print a share's link on standard output."""
    if json:
        print_json(_share(share, url))
        return
    echo(_link(share, url))
    limits = _limits(share)
    stderr_console().print(
        f"whoever has this link draws with {share.settings.model}, {limits or 'without limits'}", soft_wrap=True
    )


def print_shares(rows: Sequence[tuple[Share, Mapping[Period, int], int]], url: str, *, json: bool) -> None:
    """Print shares with their links and what was drawn."""
    if json:
        print_json([{**_share(share, url), "drawn": dict(drawn), "reported": n} for share, drawn, n in rows])
        return
    if not rows:
        stderr_console().print("there are no shares; make one with: bakehouse share add NAME")
        return
    table = Table("name", "model", "today", "this month", "reported", "", "link", box=None, pad_edge=False)
    for share, drawn, reported in rows:
        settings = share.settings
        table.add_row(
            share.name,
            settings.model,
            _of(drawn["day"], settings.day),
            _of(drawn["month"], settings.month),
            str(reported),
            _state(share),
            _link(share, url),
        )
    print_table(table)


def print_share_images(
    rows: Sequence[tuple[SharePicture, Sequence[str]]], path: Callable[[StoredPicture], Path], *, json: bool
) -> None:
    """Print images of visitors, with their files."""
    if json:
        print_json([_image(found, reasons, path) for found, reasons in rows])
        return
    if not rows:
        stderr_console().print("visitors have drawn nothing of this kind")
        return
    table = Table("id", "drawn", "", "reports", "prompt", box=None, pad_edge=False)
    for found, reasons in rows:
        state = "hidden" if found.hidden else "in the gallery" if found.shown else ""
        reports = f"{found.reports}: {'; '.join(reasons)}" if reasons else str(found.reports)
        prompt = found.picture.prompt if found.picture else ""
        drawn = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.added))
        table.add_row(found.job, drawn, state, reports, prompt)
    print_table(table)


def _image(found: SharePicture, reasons: Sequence[str], path: Callable[[StoredPicture], Path]) -> dict[str, Any]:
    return {
        "id": found.job,
        "prompt": found.picture.prompt if found.picture else "",
        "file": str(path(found.picture)) if found.picture else None,
        "added": found.added,
        "shown": found.shown,
        "hidden": found.hidden,
        "reports": found.reports,
        "reasons": list(reasons),
    }


def _share(share: Share, url: str) -> dict[str, Any]:
    return {
        "name": share.name,
        "link": _link(share, url),
        **share.settings.to_json(),
        "created": share.created,
        "revoked": share.revoked,
    }


def _link(share: Share, url: str) -> str:
    return f"{url.rstrip('/')}{share.path}"


def _state(share: Share) -> str:
    if share.revoked is not None:
        return "revoked"
    return "expired" if share.has_expired(time.time()) else ""


def _limits(share: Share) -> str:
    settings = share.settings
    rows = (
        ("a day", settings.day), ("a month", settings.month),
        ("a day for each address", settings.address_day), ("a month for each address", settings.address_month),
    )  # fmt: skip
    parts = [f"{limit:,} {what}" for what, limit in rows if limit is not None]
    return f"at most {', '.join(parts)}" if parts else ""


def _of(used: int, limit: int | None) -> str:
    return f"{used:,}" if limit is None else f"{used:,} of {limit:,}"
