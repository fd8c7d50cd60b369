from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.options import Json, Quiet

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Folders, zip and tar archives, videos or dataset files of other trainers; or URLs: s3://bucket/*.tar.",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Dataset folder, new or existing.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be imported; write nothing.")]
Frames = Annotated[Literal["first", "distinct", "all"], typer.Option(help="Frames of animated images to import.")]
PerSecond = Annotated[float, typer.Option(metavar="N", help="Video frames examined per second.")]
PerScene = Annotated[
    int, typer.Option(metavar="N", help="Maximum frames per video scene, sharpest first. 0: all that differ.")
]
Captions = Annotated[
    Literal["auto", "keep", "none"],
    typer.Option(help="Captions: convert downloaders' tag files (auto), copy as they are, or none."),
]
Artists = Annotated[bool, typer.Option("--artists", help="Keep artist tags from downloaders.")]
Ratings = Annotated[bool, typer.Option("--ratings", help="Keep rating tags from downloaders.")]
Underscores = Annotated[bool, typer.Option("--underscores", help="Keep underscores in tags.")]


def import_(
    sources: Sources, out: Out, dry_run: DryRun = False, frames: Frames = "distinct", per_second: PerSecond = 4.0,
    per_scene: PerScene = 6, captions: Captions = "auto", artists: Artists = False, ratings: Ratings = False,
    underscores: Underscores = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Copy images, captions and masks into a dataset. Run it again to add new files."""
    from bakehouse.cli.render.dataset import print_import
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.cli.render.message_collector import MessageCollector
    from bakehouse.curation.image_import import ImportOptions, import_sources

    values = {"frames": frames, "per_second": per_second, "per_scene": per_scene, "captions": captions}
    kept = {"artists": artists, "ratings": ratings, "underscores": underscores}
    options = ImportOptions.parse({**values, **kept}, source="dataset import")
    with progress_renderer(quiet=quiet or json) as on_event:
        messages = MessageCollector(on_event)
        imported = import_sources(sources, out, options, dry_run=dry_run, on_event=messages)
    print_import(imported, out, messages=messages, dry_run=dry_run, json=json)
