"""Output of `bakehouse serve` and `bakehouse tokens`."""

from __future__ import annotations

import dataclasses
import json as json_module
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, stderr_console
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.message_text import listed

if TYPE_CHECKING:
    from bakehouse.serve.settings import ServeSettings
    from bakehouse.serve.start import OpenTo
    from bakehouse.serve.store.tokens import Quota, Token
    from bakehouse.serve.store.usage import Used


def print_ready(url: str, token: str | None, settings: ServeSettings, *, json: bool, quiet: bool) -> None:
    """Say where the server is, and how to get in."""
    if json:
        names = [model.name for model in settings.models]
        folders = {"datasets": str(settings.datasets_folder), "runs": str(settings.runs_folder)}
        echo(json_module.dumps({"url": url, "token": token, "models": names, **folders}), flush=True)
        return
    echo(url, flush=True)
    if quiet:
        return
    console = stderr_console()
    console.print(f"serving {listed([model.name for model in settings.models])}; Ctrl-C stops it", soft_wrap=True)
    console.print(f"datasets in {settings.datasets_folder}, runs in {settings.runs_folder}", soft_wrap=True)
    if token is not None:
        console.print(f"in a browser: {url}/#token={token}", soft_wrap=True)
        console.print(f"token of this session: {token}", soft_wrap=True)
        console.print("one that lasts: bakehouse tokens add NAME", soft_wrap=True)
    elif settings.anonymous is not None:
        console.print(f"without a token callers may {settings.anonymous}", soft_wrap=True)


def print_open_to(settings: ServeSettings, rows: Sequence[OpenTo], *, json: bool) -> None:
    """Print each route with who may use it."""
    where = f"{settings.host} port {settings.port}"
    if json:
        print_json({"host": settings.host, "port": settings.port, "routes": [dataclasses.asdict(row) for row in rows]})
        return
    table = Table("method", "path", "scope", "open to", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.method, row.path, row.access, ", ".join(row.callers) or "nobody")
    print_table(table)
    reach = "this machine alone" if settings.is_loopback else "other machines; put TLS in front of it"
    stderr_console().print(f"{where}: reached by {reach}", soft_wrap=True)
    notes = ", ".join(f"{name.removeprefix('X-')}: {value}" for name, value in settings.picture_notes.items())
    stderr_console().print(f"served images: {notes}", soft_wrap=True)


def print_new_token(token: Token, text: str, *, json: bool) -> None:
    """Print a new token's text on standard output."""
    if json:
        print_json({**_token(token), "token": text})
        return
    echo(text)
    stderr_console().print(f"token {token.name} may {' and '.join(sorted(token.scopes))}; it is not shown again")


def print_tokens(rows: Sequence[tuple[Token, Used]], *, json: bool) -> None:
    """Print tokens and what they have used this month."""
    if json:
        print_json([{**_token(token), "used": dataclasses.asdict(used)} for token, used in rows])
        return
    if not rows:
        stderr_console().print("there are no tokens; make one with: bakehouse tokens add NAME")
        return
    table = Table(
        "name", "scopes", "made", "characters", "pictures", "a minute", "at once", "", box=None, pad_edge=False
    )
    for token, used in rows:
        quota = token.quota
        table.add_row(
            token.name,
            ", ".join(sorted(token.scopes)),
            time.strftime("%Y-%m-%d", time.localtime(token.created)),
            _of(used.characters, quota.characters_per_month),
            _of(used.pictures, quota.pictures_per_month),
            _limit(quota.requests_per_minute),
            _limit(quota.concurrent),
            "revoked" if token.revoked else "",
        )
    print_table(table)


def _of(used: int, limit: int | None) -> str:
    return f"{used:,}" if limit is None else f"{used:,} of {limit:,}"


def _limit(limit: int | None) -> str:
    return "any" if limit is None else f"{limit:,}"


def _token(token: Token) -> dict[str, Any]:
    quota: Quota = token.quota
    return {
        "name": token.name,
        "scopes": sorted(token.scopes),
        "quota": dataclasses.asdict(quota),
        "created": token.created,
        "revoked": token.revoked,
    }
