from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import Json
from bakehouse.cli.weights_options import DryRun, File, Overwrite

_Words = Annotated[list[str] | None, typer.Option(metavar="WORDS", help="May come again.")]


def edit(
    source: File,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Left out: FILE, with --overwrite.")] = None,
    title: str | None = None, author: str | None = None, description: str | None = None, license: str | None = None,  # noqa: A002
    usage_hint: str | None = None, trigger: _Words = None, tag: _Words = None, thumbnail: Path | None = None,
    put: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=TEXT", help="May come again.")] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="KEY", help="ss_* takes all that begin so.")] = None,
    dry_run: DryRun = False, overwrite: Overwrite = False, json: Json = False,
) -> None:  # fmt: skip
    """Change a file's header: title, triggers, thumbnail, any key. The numbers stay, byte for byte."""
    from bakehouse.cli.render.weights import print_changes
    from bakehouse.weights.edit_metadata import edit as change
    from bakehouse.weights.edit_metadata import edit_of

    named = {"title": title, "author": author, "description": description, "license": license, "usage_hint": usage_hint,
             "triggers": trigger, "tags": tag, "thumbnail": thumbnail}  # fmt: skip
    settings = edit_of(named, put or (), remove or ())
    print_changes(change(source, out or source, settings, dry_run=dry_run, overwrite=overwrite), json=json)
