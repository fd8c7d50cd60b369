from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.options import Json, Quiet

Sources = Annotated[
    list[Path],
    typer.Argument(metavar="SOURCE...", help="Folders, zip archives, videos, other trainers' dataset files."),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="SET", help="The dataset; made if there is none.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List what would come; write nothing.")]
Frames = Annotated[Literal["first", "distinct", "all"], typer.Option(help="Which frames of animated images to take.")]
PerSecond = Annotated[float, typer.Option(help="Frames per second of a video to consider.")]
PerScene = Annotated[int, typer.Option(help="At most so many frames of a scene, the sharpest; 0: all that differ.")]
Captions = Annotated[
    Literal["auto", "keep", "none"], typer.Option(help="auto: downloaders' tag files become captions; keep: as is.")
]
Artists = Annotated[bool, typer.Option("--artists", help="Keep artists' names among the tags.")]
Ratings = Annotated[bool, typer.Option("--ratings", help="Keep ratings such as rating:general among the tags.")]
Underscores = Annotated[bool, typer.Option("--underscores", help="Keep long_hair instead of long hair.")]


def import_(
    sources: Sources, out: Out, dry_run: DryRun = False, frames: Frames = "distinct", per_second: PerSecond = 4.0,
    per_scene: PerScene = 6, captions: Captions = "auto", artists: Artists = False, ratings: Ratings = False,
    underscores: Underscores = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Copy images with their captions and masks into a dataset. The same command again takes only what is new."""
    from bakehouse.cli.render.dataset import print_taken
    from bakehouse.cli.render.events import painting
    from bakehouse.cli.render.messages import MessageCollector
    from bakehouse.curation.image_import import ImportOptions, import_sources

    values = {"frames": frames, "per_second": per_second, "per_scene": per_scene, "captions": captions}
    kept = {"artists": artists, "ratings": ratings, "underscores": underscores}
    options = ImportOptions.parse({**values, **kept}, source="dataset import")
    with painting(quiet=quiet or json) as paint:
        messages = MessageCollector(paint)
        imported = import_sources(sources, out, options, dry_run=dry_run, on_event=messages)
    print_taken(imported, out, messages=messages, dry_run=dry_run, json=json)
