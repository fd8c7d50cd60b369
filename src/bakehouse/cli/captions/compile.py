from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

TriggerFile = Annotated[
    Path | None,
    typer.Option("--triggers", metavar="FILE", help="Where they are declared, or a recipe. Left out: triggers.toml."),
]


@spread
def compile_(
    folder: Folder,
    way: Way,
    triggers: TriggerFile = None,
    mark: Annotated[
        str, typer.Option(metavar="TEXT", help="Between triggers and the rest, as ||| for kohya. Left out: a comma.")
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also captions that were changed by hand since they were compiled.")
    ] = False,
) -> None:
    """Write captions as triggers declare. The raw tags they are made of are kept beside them as NAME.tags."""
    from bakehouse.captions.triggers import Compile, find_triggers
    from bakehouse.cli.dataset.run_operation import run_verb

    verb = Compile(triggers=find_triggers(folder, triggers), mark=mark, overwrite=overwrite)
    run_verb(folder, verb, way)
