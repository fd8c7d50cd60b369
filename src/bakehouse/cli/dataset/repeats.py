from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Source = Annotated[
    Path, typer.Argument(metavar="FOLDER|RECIPE", help="Dataset with one folder for each concept, or a recipe.")
]
Shows = Annotated[int, typer.Option(metavar="N", help="Images shown per concept and epoch.")]
Sub = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Sub-concept, shown less often. Repeatable.")]
SubShows = Annotated[int, typer.Option(metavar="N", help="Images shown per sub-concept and epoch.")]
Into = Annotated[
    Literal["folders", "toml", "jsonl"] | None,
    typer.Option("--write", help="Write N_name folders, kohya's dataset.toml or metadata.jsonl. Default: only print."),
]
Batch = Annotated[int, typer.Option(metavar="N", help="Batch size, for counting steps.")]
Resolution = Annotated[int, typer.Option(metavar="PIXELS", help="Training resolution, for counting steps.")]


@expand_option_groups
def repeats(
    source: Source, *, shows: Shows = 300, sub: Sub = None, sub_shows: SubShows = 100, write: Into = None,
    batch: Batch = 1, resolution: Resolution = 512, options: RunOptions,
) -> None:  # fmt: skip
    """Balance concepts: repeats that show each equally often."""
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.cli.render.repeats import print_repeats
    from bakehouse.curation.repeats import Repeats

    counts = {"shows": shows, "sub_shows": sub_shows, "batch": batch, "resolution": resolution}
    values = {**counts, "sub": sub or (), "write": write or "folders", "root": options.out}
    operation = Repeats.parse(values, source="dataset repeats")
    if write and source.is_dir():
        run_operation(source, operation, options)
    else:
        print_repeats(source, operation, options, write=write)
