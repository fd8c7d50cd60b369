"""An executor without processes: each job is a Python function that runs in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from bakehouse.core.errors import UsageError

Training = Callable[[Path, Path, threading.Event], int]
"""Gets the recipe, the run folder and an event that asks to stop; returns the exit code."""


class FakeJob:
    def __init__(self, train: Training, recipe: Path, run: Path, log: str) -> None:
        self.stop, self.code, self._log = threading.Event(), None, log

        def target() -> None:
            run.mkdir(parents=True, exist_ok=True)
            self.code = train(recipe, run, self.stop)

        self.thread = threading.Thread(target=target)
        self.thread.start()

    def poll(self) -> int | None:
        return None if self.thread.is_alive() else self.code

    def terminate(self) -> None:
        self.stop.set()
        self.thread.join()

    def log(self) -> str:
        return self._log


class FakeExecutor:
    def __init__(self, train: Training, log: str = "") -> None:
        self.train, self.output, self.started = train, log, []

    def check_device(self, device: str) -> None:
        if device == "gpu":
            raise UsageError("unknown device 'gpu'")

    def start(self, recipe: Path, run: Path, device: str) -> FakeJob:
        self.started.append((run.name, device))
        return FakeJob(self.train, recipe, run, self.output)
