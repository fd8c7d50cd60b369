"""Starts the processes of a training on several devices of this machine, with torch's elastic launcher.

Each process is `bakehouse train RECIPE --run FOLDER` again, with its number in the environment. This one trains
nothing: it waits, ends all when one has ended, and says why once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Failed
from bakehouse.core.files import write_text
from bakehouse.core.rank_environment import LAUNCHED
from bakehouse.core.run_folder import Run
from bakehouse.recipe import Recipe, recipe_to_toml
from bakehouse.recipe.device_and_precision import pick_device
from bakehouse.training.device_checks import check_found, devices_found
from bakehouse.training.interruption import ending_like_ctrl_c
from bakehouse.training.training_state import find_states

SAVE_SECONDS = 120
"""How long the processes may take to save a state when they are interrupted; then they are killed."""


def launch_ranks(recipe: Recipe, folder: Path, options: Sequence[str] = ()) -> None:
    """Train on `recipe.train.devices` devices of this machine, in as many processes; returns when they have finished.

    Args:
        recipe: with absolute paths.
        folder: the run folder.
        options: more of the command line of each process: `--json`, `--quiet`.

    Raises:
        UsageError: this machine has fewer devices, or rank 0 refuses the recipe.
        BakehouseError: a process failed or was killed; names it and the state to resume from.
        KeyboardInterrupt: interrupted, or told to end (SIGTERM); a state was saved.
    """
    count = recipe.train.devices
    check_found(recipe, count)
    with tempfile.TemporaryDirectory(prefix="bakehouse-") as temporary, _environment(recipe, count):
        path = write_text(Path(temporary) / "recipe.toml", recipe_to_toml(recipe))
        run_processes(["-m", "bakehouse", "train", str(path), "--run", str(folder), *options], count, Run(folder))


def run_processes(arguments: Sequence[str], count: int, run: Run) -> None:
    """Run Python with these arguments in `count` processes, numbered in the environment, until all have finished.

    Raises:
        BakehouseError: one failed or was killed; the others were ended, and the failure is recorded in `run`.
        KeyboardInterrupt: interrupted, or told to end.
    """
    with tempfile.TemporaryDirectory(prefix="bakehouse-") as logs, _quiet_launcher(), ending_like_ctrl_c():
        try:
            elastic_launch(_config(count, logs), sys.executable)(*arguments)
        except ChildFailedError as e:
            raise _failure(e, count, run) from None
        except SignalException:
            raise KeyboardInterrupt from None


def _config(count: int, logs: str) -> LaunchConfig:
    settings: dict[str, Any] = {
        "min_nodes": 1,
        "max_nodes": 1,
        "nproc_per_node": count,
        "run_id": uuid.uuid4().hex,
        "rdzv_backend": "c10d",
        "rdzv_endpoint": "localhost:0",
        "local_addr": "localhost",
        "max_restarts": 0,
        "logs_specs": DefaultLogsSpecs(log_dir=logs),
        "signals_to_handle": "SIGINT",
        "shutdown_timeout": SAVE_SECONDS,
    }
    known = {field.name for field in dataclasses.fields(LaunchConfig)}  # earlier versions of torch have fewer
    return LaunchConfig(**{name: value for name, value in settings.items() if name in known})


@contextlib.contextmanager
def _environment(recipe: Recipe, count: int) -> Iterator[None]:
    """Set variables for the processes: that they were launched; on a CPU, each one's share of the cores."""
    ours = {LAUNCHED: "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    if pick_device(recipe.train.device) == "cpu":
        ours["OMP_NUM_THREADS"] = str(max(1, devices_found("cpu") // count))
    added = [name for name in ours if name not in os.environ]
    os.environ.update({name: ours[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _quiet_launcher() -> Iterator[None]:
    """Keep the launcher's own messages from the user, who gets one from here."""
    logger, handler = logging.getLogger("torch.distributed.elastic"), logging.NullHandler()
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _failure(error: ChildFailedError, count: int, run: Run) -> BakehouseError:
    """Return the error of the process that failed first, and record it in the run if that process could not."""
    rank, failure = min(error.failures.items(), key=lambda item: (_ended_by_us(item[1]), item[1].timestamp))
    left: Any = failure.message  # a dict where the process left one, else a text of the launcher
    told = left if isinstance(left, dict) else {}
    message = str(told.get("message", "")).removeprefix("error: ")
    hint = str(told.get("extraInfo", {}).get("hint", ""))
    name = f"rank {rank} of {count}"
    if not message:
        message = f"{name} {_how_it_ended(failure)}"
    elif rank and not message.startswith(name):
        message = f"{name}: {message}"
    if failure.exitcode == UsageError.exit_code:
        return UsageError(message, hint=hint)
    last = find_states(run.states).newest
    if (rank or not told) and run.recipe.is_file():
        step = max((getattr(event, "step", 0) for event in run.history()), default=0)
        path = str(last.path.relative_to(run.folder)) if last else None
        run.append(Failed(step=step, error=message, last_good=path))
    if last:
        state = f"the last good state is {last.path}; the same command resumes from it"
        hint = f"{hint}\n  {state}" if hint else state
    return BakehouseError(message, hint=hint)


def _ended_by_us(failure: ProcessFailure) -> bool:
    """Whether the launcher ended a process since another had failed."""
    return failure.exitcode == -signal.SIGTERM


def _how_it_ended(failure: ProcessFailure) -> str:
    """Return how a process ended that said nothing."""
    if failure.exitcode >= 0:
        return f"ended with exit code {failure.exitcode}"
    killed = f"was killed by signal {-failure.exitcode} ({failure.signal_name()})"
    if failure.exitcode == -signal.SIGKILL:
        killed += ": by somebody, or by the system, which does so when the machine has no more memory"
    return killed
