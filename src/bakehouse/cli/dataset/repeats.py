from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Way
from bakehouse.cli.option_groups import spread

Source = Annotated[Path, typer.Argument(metavar="FOLDER|RECIPE", help="A dataset with a folder a concept; a recipe.")]
Shows = Annotated[int, typer.Option(metavar="N", help="Images of each concept in an epoch.")]
Sub = Annotated[list[str] | None, typer.Option(metavar="NAME", help="A sub-concept, shown less. May come again.")]
SubShows = Annotated[int, typer.Option(metavar="N", help="Images of each sub-concept in an epoch.")]
Into = Annotated[
    Literal["folders", "toml", "jsonl"] | None,
    typer.Option("--write", help="N_name folders, kohya's dataset.toml, or metadata.jsonl. Left out: only say it."),
]
Batch = Annotated[int, typer.Option(metavar="N", help="Images a step, for counting steps.")]
Resolution = Annotated[int, typer.Option(metavar="PIXELS", help="Of training: batches never mix buckets.")]


@spread
def repeats(
    source: Source, *, shows: Shows = 300, sub: Sub = None, sub_shows: SubShows = 100, write: Into = None,
    batch: Batch = 1, resolution: Resolution = 512, way: Way,
) -> None:  # fmt: skip
    """Balance concepts: whole repeats that show each as often as its siblings."""
    from bakehouse.cli.dataset.run_operation import run_verb
    from bakehouse.cli.render.repeats import show_repeats
    from bakehouse.curation.repeats import Repeats

    counts = {"shows": shows, "sub_shows": sub_shows, "batch": batch, "resolution": resolution}
    values = {**counts, "sub": sub or (), "write": write or "folders", "root": way.out}
    verb = Repeats.parse(values, source="dataset repeats")
    if write and source.is_dir():
        run_verb(source, verb, way)
    else:
        show_repeats(source, verb, way, write=write)
