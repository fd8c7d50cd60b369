"""The way back of `save.mirror`: a run's copy is copied to this machine, so that the training goes on from there."""

from __future__ import annotations

import os
from collections.abc import Iterator

from bakehouse.core.events import Event, Noted, Progress, Warned
from bakehouse.core.file_store import open_store
from bakehouse.core.folder_lock import locked
from bakehouse.core.message_text import counted, listed
from bakehouse.core.run_folder import Run
from bakehouse.training.mirror_files import (
    MANIFEST,
    is_of_older_state,
    mirrored_files,
    newest_step,
    read_manifest,
)


def restore_from_mirror(mirror: str, run: Run) -> Iterator[Event]:
    """Copy a run back from `save.mirror` if the copy holds more of it than the run's folder does.

    What is there already is not copied again; after an interruption the same call goes on. Nothing is removed. Files
    get the times of the originals back, so that the mirror knows that it has them.

    Args:
        mirror: the recipe's `save.mirror`.
        run: the run, whose name is that of the copy.

    Raises:
        UsageError: `mirror` is no address.
        InUseError: another process uses the run's folder.
        BakehouseError: the mirror cannot be reached, or the folder not be written.
    """
    store = open_store(f"{mirror.rstrip('/')}/{run.name}")
    files = read_manifest(store.read(MANIFEST)).get("files", {})
    here = {file.name: file.stamp for file in mirrored_files(run)}
    if not files or (run.inputs.is_file() and newest_step(files) <= newest_step(here)):
        return
    due = [name for name, stamp in files.items() if here.get(name) != list(stamp)]
    missing = []
    with locked(run.folder, "copying the run back"):
        for done, name in enumerate(due):
            yield Progress(what="copying the run back", done=done, total=len(due))
            target = run.folder / name
            if store.fetch(name, target):
                changed = int(files[name][1])
                os.utime(target, ns=(changed, changed))
            elif not is_of_older_state(name, newest_step(files)):  # one that the mirror was about to remove
                missing.append(name)
        yield Progress(what="copying the run back", done=len(due), total=len(due))
    if missing:
        # The training decides: it can go on from an older state, or says which file it cannot do without.
        yield Warned(message=f"{store.url} lacks {counted(len(missing), 'file')} that it lists: {listed(missing)}")
    yield Noted(message=f"the run is copied back from {store.url}, up to step {newest_step(files)}")
