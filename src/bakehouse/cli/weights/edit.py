from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import Json
from bakehouse.cli.weights.options import DryRun, File, Overwrite

OutFile = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="PATH", help="Output file. Default: FILE itself, with --overwrite."),
]
Title = Annotated[str | None, typer.Option(metavar="TEXT", help="Title of the model.")]
Author = Annotated[str | None, typer.Option(metavar="TEXT", help="Author of the model.")]
Description = Annotated[str | None, typer.Option(metavar="TEXT", help="Description of the model.")]
License = Annotated[str | None, typer.Option(metavar="TEXT", help="Licence of the model.")]
UsageHint = Annotated[str | None, typer.Option(metavar="TEXT", help='Usage hint, e.g. "strength 0.6 to 1".')]
Trigger = Annotated[list[str] | None, typer.Option(metavar="WORDS", help="Trigger word. Repeatable.")]
Tag = Annotated[list[str] | None, typer.Option(metavar="WORDS", help="Search tag. Repeatable.")]
Thumbnail = Annotated[Path | None, typer.Option(metavar="FILE", help="Image to store as a thumbnail of 256 pixels.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=TEXT", help="Set any metadata key. Repeatable.")]
Remove = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY", help="Remove a metadata key; wildcards allowed (ss_*). Repeatable."),
]


def edit(
    source: File, out: OutFile = None, title: Title = None, author: Author = None, description: Description = None,
    license: License = None, usage_hint: UsageHint = None, trigger: Trigger = None, tag: Tag = None,  # noqa: A002
    thumbnail: Thumbnail = None, put: Set = None, remove: Remove = None,
    dry_run: DryRun = False, overwrite: Overwrite = False, json: Json = False,
) -> None:  # fmt: skip
    """Edit the metadata of a file. The weights stay the same, byte for byte."""
    from bakehouse.cli.render.weights import print_changes
    from bakehouse.weights.edit_metadata import edit as edit_metadata
    from bakehouse.weights.edit_metadata import edit_of

    named = {"title": title, "author": author, "description": description, "license": license, "usage_hint": usage_hint,
             "triggers": trigger, "tags": tag, "thumbnail": thumbnail}  # fmt: skip
    settings = edit_of(named, put or (), remove or ())
    changes = edit_metadata(source, out or source, settings, dry_run=dry_run, overwrite=overwrite)
    print_changes(changes, json=json)
