"""The queue's scheduler in a thread of the server: one training at a time on each device, beside the drawing.

Trainings are processes of their own. A server that was killed leaves the one that runs; the next server's scheduler
waits until it has ended, then runs the job again, which goes on from its newest state, or is found to be finished.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Warned
from bakehouse.core.folder_lock import InUseError
from bakehouse.queue.executor import LocalExecutor, LocalProcess
from bakehouse.queue.job_queue import JobQueue
from bakehouse.queue.scheduler import JobChanged, run_jobs

log = logging.getLogger("bakehouse.serve")

_RETRY_SECONDS = 5.0
_POLL_SECONDS = 0.2


class SharedDeviceExecutor(LocalExecutor):
    """Starts a training when the device is free for it: nothing else holds it, and drawing has given memory back."""

    def __init__(self, folder: Path, is_free: Callable[[], bool], stopping: threading.Event) -> None:
        self.folder = folder
        self._is_free, self._stopping = is_free, stopping

    def start(self, recipe: Path, run: Path, device: str) -> LocalProcess:
        while not self._is_free() and not self._stopping.is_set():
            self._stopping.wait(_POLL_SECONDS)
        return super().start(recipe, run, device)


class TrainingScheduler:
    """Runs the jobs of a queue until it is stopped.

    Args:
        queue: the jobs.
        devices: names as for `bakehouse queue run --device`.
        folder: in which trainings run; relative names of a recipe are no files there.
        is_free: whether a training may begin now; called in another thread.
    """

    def __init__(
        self, queue: JobQueue, devices: Sequence[str], folder: Path, *, is_free: Callable[[], bool] = lambda: True
    ) -> None:
        self.queue, self._devices = queue, tuple(devices)
        self._stop = threading.Event()
        self._running: frozenset[int] = frozenset()
        self._executor = SharedDeviceExecutor(folder, is_free, self._stop)
        self._thread = threading.Thread(target=self._work, name="trainings", daemon=True)
        self.is_training = False
        """Whether a training runs, or waits for its device."""
        self.problem = ""
        """Why no training begins; empty if one can."""

    def start(self) -> None:
        """Begin to run jobs."""
        self._thread.start()

    async def stop(self) -> None:
        """Ask the running trainings to save and end; they wait again, and the next server goes on with them."""
        self._stop.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                for event in run_jobs(self.queue, self._devices, executor=self._executor, watch=True, stop=self._stop):
                    self.problem = ""
                    if isinstance(event, JobChanged):
                        self._running = (
                            self._running | {event.job} if event.state == "running" else (self._running - {event.job})
                        )
                        self.is_training = bool(self._running)
                        log.info("training", extra={"job": event.job, "run": event.name, "state": event.state})
                    elif isinstance(event, Warned):
                        log.info(event.message)
            except InUseError:
                self.problem = "another process runs the queue"
            except BakehouseError as e:
                self.problem = e.message
                log.error("the queue cannot be run", extra={"error": str(e)})
            except Exception:
                log.exception("the queue cannot be run")
                self.problem = "the server failed; its log says more"
            self._running, self.is_training = frozenset(), False
            self._stop.wait(_RETRY_SECONDS)
