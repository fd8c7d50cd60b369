"""Options that several commands share, with one name and one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Kind = Literal["character", "object", "concept", "pose", "style", "dreambooth"]

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the result and warnings.")]

# What is taught
Source = Annotated[
    Path,
    typer.Argument(metavar="RECIPE|FOLDER", help="A recipe, a folder of images, a concepts_list.json or a run folder."),
]
Subject = Annotated[str | None, typer.Option(metavar="WORDS", help='Trigger and class word: "zwx person".')]
KindOption = Annotated[Kind | None, typer.Option("--kind", help="What is taught; chooses the plan's numbers.")]
BaseOption = Annotated[str | None, typer.Option("--base", metavar="MODEL", help="The base model. Left out: crumb.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe: adapter.rank=16. May come again."),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `bakehouse train` made.")]

QueueFile = Annotated[
    Path | None, typer.Option("--queue", metavar="FILE", help="Another queue. Left out: the user's own.")
]
Job = Annotated[int, typer.Argument(metavar="JOB", help="The job's number in `bakehouse queue list`.")]
