"""Resuming: the newest undamaged state of a run is found and restored, and its weights are checked."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import torch

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event, Warned
from bakehouse.core.files import sha256_file
from bakehouse.core.run_folder import Run
from bakehouse.training.resume_checks import NEW_RUN
from bakehouse.training.run_setup import OpenRun
from bakehouse.training.training_state import SavedState, TrainState, find_states, restore_state


def newest_state(run: Run) -> Generator[Event, None, SavedState | None]:
    """Return the state to resume from, None in a new run; damaged ones are moved away, with a warning.

    Raises:
        BakehouseError: there are states, and all are damaged.
    """
    found = find_states(run.states)
    if found.newest is None and found.damaged:
        raise BakehouseError(
            f"{run.folder}: all saved states are damaged: " + "; ".join(map(str, found.damaged)),
            hint=f"restore {run.states} from a copy, or remove that folder: the same command then trains from the "
            "first step, to the same weights",
        )
    for damage in found.damaged:
        moved = run.set_aside(damage.path.parent)
        yield Warned(message=f"{damage}; the state is not used, it was moved to {moved}")
    if found.newest is not None and found.damaged:
        yield Warned(message=f"resuming from {found.newest.path}, the newest undamaged state")
    if found.newest is not None and not found.newest.hashed:
        yield Warned(
            message=f"{found.newest.path} was saved by an earlier version, without hashes: damage to it is not detected"
        )
    return found.newest


def check_weights(run: Run, saved: SavedState, final: Path) -> Generator[Event, None, None]:
    """Warn of weights that were changed after they were saved; the final ones are moved away, to be saved again.

    Deleted weights are no damage, but missing files in a model's folder are.
    """
    for name, digest in saved.weights_sha256.items():
        path = run.weights / name
        exists = (run.weights / Path(name).parts[0]).exists()
        if not exists or (path.is_file() and sha256_file(path) == digest):
            continue
        what = f"{path} was changed or damaged after it was saved (its sha256 does not match)"
        if path == final or final in path.parents:
            if final.exists():
                what += f"; it was moved to {run.set_aside(final)}, and is saved again from {saved.path}"
            yield Warned(message=what)
        else:
            yield Warned(message=f"{what}; the training does not depend on it")


def restore(state: TrainState, saved: SavedState | None, opened: OpenRun) -> Iterator[Event]:
    """Restore a saved state, if there is one, into a state at step 0; `state` gets the digest of the inputs too.

    Raises:
        BakehouseError: the saved state belongs to a training with other inputs.
    """
    run, inputs = opened.run, opened.inputs
    state.inputs = inputs.digest
    if saved is None:
        return
    if saved.notes.get("inputs", state.inputs) != state.inputs:
        raise BakehouseError(
            f"{saved.path} was trained with other inputs than {run.inputs} lists: other images, captions, settings or "
            "another base model",
            hint=f"restore the run's own files, or {NEW_RUN}",
        )
    restore_state(state, saved)
    opened.redoes_step = state.unfinished
    opened.confirm_inputs()
    before, threads = saved.notes["threads"], torch.get_num_threads()
    if all(p.device.type == "cpu" for p in state.parameters()) and before != threads:
        yield Warned(
            message=f"this run used {before} threads before and uses {threads} now: the result will differ in its last "
            "bits"
        )
