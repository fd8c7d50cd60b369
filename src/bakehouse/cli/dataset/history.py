from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder
from bakehouse.cli.options import Json

Every = Annotated[bool, typer.Option("--all", help="Undo all steps.")]
KeepEdits = Annotated[
    bool, typer.Option("--keep-edits", help="Move aside files that were edited after the step, instead of stopping.")
]


def undo(folder: Folder, every: Every = False, keep_edits: KeepEdits = False, json: Json = False) -> None:
    """Undo the last step. Contents and dates of files are restored."""
    from bakehouse.cli.render.dataset import print_undone
    from bakehouse.curation import apply_and_undo

    taken = [apply_and_undo.undo(folder, keep_edits=keep_edits)]
    while every and apply_and_undo.last_applied(folder) is not None:
        taken.append(apply_and_undo.undo(folder, keep_edits=keep_edits))
    print_undone(taken, folder, json=json)


def history(folder: Folder, json: Json = False) -> None:
    """List the steps that changed a dataset."""
    from bakehouse.cli.render.dataset import print_history
    from bakehouse.curation import apply_and_undo

    print_history(apply_and_undo.read_history(folder), folder, json=json)
