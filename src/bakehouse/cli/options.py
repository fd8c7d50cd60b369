"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.help_panels import OUTPUT, RECIPE

Kind = Literal[
    "character", "outfits", "pack", "object", "concept", "pose", "style", "dreambooth", "embedding", "slider"
]

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, and nothing else.", rich_help_panel=OUTPUT)
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only the result and warnings.", rich_help_panel=OUTPUT)
]

# The recipe of a training
Source = Annotated[
    Path,
    typer.Argument(metavar="RECIPE|FOLDER", help="Recipe file, folder of images, concepts_list.json or run folder."),
]
OptionalSource = Annotated[
    Path | None,
    typer.Argument(
        metavar="[RECIPE|FOLDER]",
        help="Recipe file, folder of images, concepts_list.json, run folder, or YAML of another trainer. "
        "A slider needs none.",
        show_default=False,
    ),
]
Subject = Annotated[
    str | None, typer.Option(metavar="WORDS", help='Trigger and class word, e.g. "zwx person".', rich_help_panel=RECIPE)
]
KindOption = Annotated[
    Kind | None,
    typer.Option("--kind", help="Kind of subject; selects the preset. Default: character.", rich_help_panel=RECIPE),
]
BaseOption = Annotated[
    str | None, typer.Option("--base", metavar="MODEL", help="Base model. Default: crumb.", rich_help_panel=RECIPE)
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a key of the recipe, e.g. adapter.rank=16. Repeatable.",
        rich_help_panel=RECIPE,
    ),
]
Devices = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of devices that share each step; the same as --set train.devices=N.",
        rich_help_panel=RECIPE,
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder made by `bakehouse train`.")]

QueueFile = Annotated[
    Path | None, typer.Option("--queue", metavar="FILE", help="Queue file. Default: the user's queue.")
]
Job = Annotated[int, typer.Argument(metavar="JOB", help="Job number, as shown by `bakehouse queue list`.")]
