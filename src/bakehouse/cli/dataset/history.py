from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder
from bakehouse.cli.options import Json

Every = Annotated[bool, typer.Option("--all", help="All steps: the dataset as it was before the first one.")]
KeepEdits = Annotated[
    bool, typer.Option("--keep-edits", help="Put files that were changed by hand since aside, and go on.")
]


def undo(folder: Folder, every: Every = False, keep_edits: KeepEdits = False, json: Json = False) -> None:
    """Take the last step back: every file is as it was, and as old."""
    from bakehouse.cli.render.dataset import print_undone
    from bakehouse.curation import history

    taken = [history.undo(folder, keep_edits=keep_edits)]
    while every and history.last_applied(folder) is not None:
        taken.append(history.undo(folder, keep_edits=keep_edits))
    print_undone(taken, folder, json=json)


def history(folder: Folder, json: Json = False) -> None:
    """List what was done to a dataset."""
    from bakehouse.cli.render.dataset import print_history
    from bakehouse.curation import history

    print_history(history.read_history(folder), folder, json=json)
