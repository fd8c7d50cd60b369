"""The weights of a run: in order, by epoch, and the ones that its evaluation selected."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Saved
from bakehouse.core.files import read_json
from bakehouse.core.run_folder import Run

_NUMBER = re.compile(r"-(?:step)?(\d{6,8})$")
"""kohya's ending of a checkpoint's name: NAME-000004 or NAME-step00000400."""


def run_weights(run: Run) -> list[Path]:
    """Return a run's weights in the order in which they were saved; the last are those of the end of training.

    Raises:
        UsageError: there are none yet.
    """
    found = run.list_weights()
    if not found:
        raise UsageError(
            f"the run {run.folder} has no weights yet", hint="resume it: `bakehouse train` with the same recipe"
        )
    saved_at = {Path(e.path).name: e.step for e in run.history() if isinstance(e, Saved)}

    def order(path: Path) -> tuple[float, str]:
        # A file without a number is the last; by name alone it would sort before its numbered checkpoints.
        number = saved_at.get(path.name, _number(path))
        return (float("inf") if number is None else number, path.name)

    return sorted(found, key=order)


def epoch_weights(run: Run) -> dict[int, Path]:
    """Return the weights saved at the end of an epoch, by the epoch's number.

    Numbers are from the run's events; for files without one, by kohya's rule: NAME-000004 is epoch 4.
    """
    saved_at = {Path(e.path).name: e.epoch for e in run.history() if isinstance(e, Saved)}
    found: dict[int, Path] = {}
    for path in run_weights(run):
        if "-step" in path.name:
            continue
        number = saved_at.get(path.name, _number(path))
        if number is None:
            number = max(found, default=0) + 1
        found[number] = path
    return dict(sorted(found.items()))


def selected_weights(run: Run) -> tuple[Path, float]:
    """Return the weights and strength that the evaluation selected; else the last weights at strength 1.

    Raises:
        UsageError: there are no weights yet.
        BakehouseError: the selection is damaged, or its weights are gone.
    """
    choice = run.report / "pick.json"
    if not choice.is_file():
        return run_weights(run)[-1], 1.0
    pick = read_json(choice)
    if isinstance(pick, dict) and pick.get("weights") == "":
        # No checkpoint was better than words alone.
        return run_weights(run)[-1], 1.0
    try:
        path, strength = run.folder / str(pick["weights"]), float(pick.get("weight", 1.0))
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise BakehouseError(
            f"{choice} is damaged: {e!r}", hint=f"`bakehouse evaluate {shlex.quote(str(run.folder))}` writes it again"
        ) from e
    if not path.exists():
        raise BakehouseError(
            f"{choice} selects {pick['weights']}, which is not in the run",
            hint=f"`bakehouse evaluate {shlex.quote(str(run.folder))}` selects again",
        )
    return path, strength


def _number(path: Path) -> int | None:
    stem = path.stem if path.suffix == ".safetensors" else path.name
    match = _NUMBER.search(stem)
    return int(match[1]) if match else None
