from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

TriggerFile = Annotated[
    Path | None,
    typer.Option(
        "--triggers", metavar="FILE", help="File that declares triggers, or a recipe. Default: triggers.toml."
    ),
]


@expand_option_groups
def compile_(
    folder: Folder,
    options: RunOptions,
    triggers: TriggerFile = None,
    mark: Annotated[
        str, typer.Option(metavar="TEXT", help="Separator after the triggers, e.g. ||| for kohya. Default: a comma.")
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace captions that were edited since they were compiled.")
    ] = False,
) -> None:
    """Write captions with triggers. The original tags are kept in NAME.tags."""
    from bakehouse.captions.triggers import Compile, find_triggers
    from bakehouse.cli.dataset.run_operation import run_operation

    operation = Compile(triggers=find_triggers(folder, triggers), mark=mark, overwrite=overwrite)
    run_operation(folder, operation, options)
