"""Output of `bakehouse models`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, stderr_console
from bakehouse.cli.render.events import progress_renderer
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.model_catalogue import KINDS, Kind
from bakehouse.core.units import size
from bakehouse.models.manage_models import Row, add, fetch, fetchable, remove, rows


def print_models(*, here: bool, kind: str | None, json: bool, quiet: bool) -> None:
    """Print a table, names alone, or JSON."""
    wanted = _kind(kind)
    chosen = [row for row in rows() if (row.path or not here) and wanted in (None, row.kind)]
    if json:
        print_json([row.to_json() for row in chosen])
    elif quiet:
        echo(*(row.name for row in chosen), sep="\n")
    else:
        _print_table(chosen)


def _print_table(chosen: Sequence[Row]) -> None:
    table = Table("name", "kind", "size", "licence", "sha256", "where", box=None, pad_edge=False)
    for row in chosen:
        kind = f"{row.kind}, {row.family}" if row.family else row.kind
        known = row.sha256[:12] or (f"revision {row.revision[:8]}" if row.revision else "-")
        where = row.path or f"to download from {_short_source(row.source)}"
        table.add_row(row.name, kind, size(row.bytes) if row.bytes else "-", row.licence, known, where)
    print_table(table)


def _short_source(source: str) -> str:
    """Return the host of an address; the id of a repository of the Hub."""
    _, found, repo = source.partition("https://huggingface.co/")
    return f"Hub {repo}" if found else urlsplit(source).hostname or source


def _kind(kind: str | None) -> Kind | None:
    if kind is not None and kind not in KINDS:
        raise UsageError(f"--kind {kind}: unknown kind; allowed are {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    return cast("Kind | None", kind)


def fetch_models(names: Sequence[str], *, given: Path | None, json: bool, quiet: bool) -> None:
    """Download models one after the other, with their licences; unknown names are refused first."""
    if given is not None and len(names) > 1:
        raise UsageError(f"--from {given} works for one model, and {len(names)} are named: {', '.join(names)}")
    got = []
    for entry in [fetchable(name) for name in names]:
        if not (json or quiet):
            stderr_console().print(f"{entry.name}: {entry.licence}, from {given or entry.origin}")
    for name in names:
        with progress_renderer(quiet=quiet or json) as on_event:
            entry, found = fetch(name, given=given, on_event=on_event)
        got.append({"name": name, "licence": entry.licence, **found.model_dump(mode="json")})
        if not json:
            echo(found.folder if len(found.files) > 1 else found.paths[0], flush=True)
    if json:
        print_json(got)


def add_model(name: str, where: str, kind: str | None, licence: str, *, json: bool, quiet: bool) -> None:
    """Register a user's model under a name."""
    with progress_renderer(quiet=quiet or json) as on_event:
        _, own = add(name, where, kind=_kind(kind), licence=licence, on_event=on_event)
    if json:
        print_json({"name": name, **own.model_dump(mode="json")})
    else:
        known = f", sha256 {own.sha256}" if own.sha256 else ""
        echo(f"{name}: {own.kind}{f' of {own.family}' if own.family else ''}, {own.where}{known}")


def remove_model(name: str, *, files: bool, json: bool) -> None:
    """Remove a name."""
    message, freed = remove(name, files=files)
    if json:
        print_json({"name": name, "freed": freed, "said": message})
    else:
        echo(f"{message} ({size(freed)} freed)" if freed else message)
