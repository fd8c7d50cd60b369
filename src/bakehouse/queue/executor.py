"""The interface that the scheduler runs jobs with, and its implementation with processes on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal, Protocol

from bakehouse.core.errors import UsageError

TERMINATE_SECONDS = 150.0
"""How long a training may take to end its step and save it before it is killed, which loses all after the last state.
"""
_LOG_BYTES = 64 * 1024


class JobHandle(Protocol):
    """A job that an executor has started."""

    def poll(self) -> int | None:
        """Return the exit code, or None while the job runs: 0 is success, -N means that signal N ended it."""
        ...

    def terminate(self) -> None:
        """Ask the job to stop, and return when it has ended; one that does not obey is killed."""
        ...

    def log(self) -> str:
        """Return the end of what the job has written to standard error."""
        ...


class Executor(Protocol):
    """What runs jobs. The scheduler calls `start` from one thread for each device."""

    def check_device(self, device: str) -> None:
        """Check a device's name before any job is started.

        Raises:
            UsageError: this executor has no such device; names the allowed ones.
        """
        ...

    def start(self, recipe: Path, run: Path, device: str) -> JobHandle:
        """Start a training and return at once.

        Args:
            recipe: TOML file with absolute paths, in a folder for the queue's own files.
            run: run folder; made if it is missing, resumed if it holds a run.
            device: one that `check_device` has accepted.

        Raises:
            BakehouseError, OSError: the job cannot be started; it is marked as failed with this message.
        """
        ...


def make_executor(engine: Literal["local", "ray"]) -> Executor:
    """Return what runs jobs: this machine, or the Ray cluster that RAY_ADDRESS names.

    Raises:
        UsageError: Ray is not installed, or there is no cluster.
    """
    if engine == "local":
        return LocalExecutor()
    from bakehouse.queue.ray_executor import RayExecutor

    return RayExecutor()


class LocalExecutor:
    """Runs each job as a process on this machine: `python -m bakehouse train RECIPE --run FOLDER`.

    The log lies beside the recipe: `00003.toml`, `00003.log`.
    """

    folder: Path | None = None
    """The working folder of the processes; None: this process's."""

    def check_device(self, device: str) -> None:
        kind, _, index = device.partition(":")
        if kind not in {"auto", "cpu", "cuda", "mps"} or (index and not (kind == "cuda" and index.isdigit())):
            raise UsageError(f"unknown device {device!r}", hint="allowed are auto, cpu, mps, cuda, cuda:0, cuda:1, ...")

    def start(self, recipe: Path, run: Path, device: str) -> LocalProcess:
        log = recipe.with_suffix(".log")
        with log.open("wb") as errors:
            process = subprocess.Popen(
                self.command(recipe, run),
                cwd=self.folder,
                env=environment(device),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C in the terminal reaches the scheduler alone, which terminates its jobs
            )
        return LocalProcess(process, log)

    def command(self, recipe: Path, run: Path) -> list[str]:
        """Return the command line of a job's process."""
        return [sys.executable, "-m", "bakehouse", "train", str(recipe), "--run", str(run), "--quiet"]


class LocalProcess:
    """A job's process on this machine."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log

    def poll(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(TERMINATE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        with self._log.open("rb") as f:
            f.seek(max(0, f.seek(0, os.SEEK_END) - _LOG_BYTES))
            return f.read().decode("utf-8", errors="replace")


def environment(device: str) -> dict[str, str]:
    """Return the environment of a job's process: it sees one GPU or none, so that its recipe need not name a device."""
    kind, _, index = device.partition(":")
    variables = dict(os.environ)
    if kind == "cpu":
        variables["CUDA_VISIBLE_DEVICES"] = ""
    elif kind == "cuda":
        visible = [d for d in variables.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
        number = int(index or 0)
        # cuda:1 is the second of the devices that are visible to this process.
        variables["CUDA_VISIBLE_DEVICES"] = visible[number] if number < len(visible) else str(number)
    return variables
