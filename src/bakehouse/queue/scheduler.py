"""Runs the queue's jobs, one at a time on each device, each as a process of its own: `bakehouse train` on its recipe.

A crash, an out-of-memory or a kill ends one job and never the queue; training resumes exactly, so that a job which was
cut off is simply run again.
"""

from __future__ import annotations

import contextlib
import os
import queue as threads_queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Warned
from bakehouse.core.files import write_text
from bakehouse.core.folder_lock import InUseError, locked
from bakehouse.queue.job_queue import Job, JobQueue, State

_POLL_SECONDS = 0.3
_PATIENCE_SECONDS = 30.0
"""What a process may take to stop before it is killed; a kill loses no more than the last state's age."""
_ERROR_LINES = 6


@dataclass(frozen=True, kw_only=True)
class JobChanged(Event):
    """A job of the queue began or ended."""

    job: int
    name: str
    state: State
    device: str
    run: str
    error: str = ""


def work(queue: JobQueue, devices: Sequence[str] = ("auto",), *, watch: bool = False) -> Iterator[Event]:
    """Runs waiting jobs until there are none, or with `watch` until interrupted.

    Args:
        queue: where the jobs are.
        devices: `auto`, `cpu`, `mps`, `cuda:0`, ...; each has one job at a time.
        watch: stay and wait for more.

    Raises:
        UsageError: a device is named twice or unknown, or another worker of this queue has it.
    """
    _check(devices)
    said: threads_queue.SimpleQueue[Event] = threads_queue.SimpleQueue()
    leave = threading.Event()
    with contextlib.ExitStack() as held:
        for device in devices:
            held.enter_context(_own(queue, device))
            for job in queue.reclaim(device):
                yield Warned(message=f"job {job.id} ({job.name}) was cut off; it goes on where it was")
        workers = [_Worker(queue, device, said, leave, watch=watch) for device in devices]
        try:
            for worker in workers:
                worker.start()
            while any(worker.is_alive() for worker in workers):
                yield from _drain(said)
            yield from _drain(said)
        finally:
            # Reached by Ctrl-C too: the jobs' processes end, their jobs wait again.
            leave.set()
            for worker in workers:
                if worker.is_alive():
                    worker.join()


def _check(devices: Sequence[str]) -> None:
    for device in devices:
        kind, _, number = device.partition(":")
        if kind not in {"auto", "cpu", "cuda", "mps"} or (number and not (kind == "cuda" and number.isdigit())):
            raise UsageError(f"{device!r} is no device: auto, cpu, mps, cuda or cuda:N")
    if len(set(devices)) < len(devices):
        raise UsageError(f"a device is named twice: {', '.join(devices)}", hint="each has one job at a time")


def _own(queue: JobQueue, device: str) -> contextlib.AbstractContextManager[list[str]]:
    """The right to run this queue's jobs on a device, until the block ends or the process dies."""
    return locked(job_folder(queue) / device.replace(":", "-"), "working off the queue")


def _drain(said: threads_queue.SimpleQueue[Event]) -> Iterator[Event]:
    with contextlib.suppress(threads_queue.Empty):
        yield said.get(timeout=_POLL_SECONDS)
        while True:
            yield said.get_nowait()


class _Worker(threading.Thread):
    """One device's turn-taker."""

    def __init__(
        self,
        queue: JobQueue,
        device: str,
        said: threads_queue.SimpleQueue[Event],
        leave: threading.Event,
        *,
        watch: bool,
    ) -> None:
        super().__init__(name=f"queue-{device}")
        self.queue, self.device, self.said, self.leave, self.watch = queue, device, said, leave, watch

    def run(self) -> None:
        while not self.leave.is_set():
            job = self.queue.take(self.device)
            if job is not None:
                self.tell(job)
                self.tell(self.finish(job))
            elif self.watch:
                self.leave.wait(1.0)
            else:
                return

    def tell(self, job: Job) -> None:
        event = JobChanged(
            job=job.id, name=job.name, state=job.state, device=job.device, run=str(job.run), error=job.error
        )
        self.said.put(event)

    def finish(self, job: Job) -> Job:
        """Runs one job to its end."""
        waited = self._until_free(job)
        if waited is not None:
            return self.queue.end(job.id, waited)
        if not job.is_whole:
            damage = (
                f"its recipe in {self.queue.path} is damaged (its sha256 does not match): remove the job, add it again"
            )
            return self.queue.end(job.id, "failed", damage)
        recipe = write_text(job_folder(self.queue) / f"{job.id:05d}.toml", job.recipe)
        log = recipe.with_suffix(".log")
        with log.open("wb") as errors:
            process = subprocess.Popen(
                command(recipe, job.run),
                env=environment(self.device),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # a Ctrl-C in the terminal is for the worker, which passes it on
            )
            stopped = self._wait(process, job)
        if stopped is not None:
            return self.queue.end(job.id, stopped)
        if process.returncode == 0:
            return self.queue.end(job.id, "done")
        return self.queue.end(job.id, "failed", _last_words(log, process.returncode))

    def _until_free(self, job: Job) -> State | None:
        """Waits while another process trains in the run folder: a killed worker leaves its job's process behind."""
        while job.run.is_dir():
            try:
                with locked(job.run, "waiting for its turn"):
                    return None
            except InUseError:
                if wanted := self._wanted(job):
                    return wanted
                time.sleep(_POLL_SECONDS)
        return None

    def _wait(self, process: subprocess.Popen[bytes], job: Job) -> State | None:
        """Waits for the process; what its job becomes where it was made to stop, else None."""
        while process.poll() is None:
            if wanted := self._wanted(job):
                _end(process)
                return wanted
            time.sleep(_POLL_SECONDS)
        return None

    def _wanted(self, job: Job) -> State | None:
        """What the job shall become at once: the worker leaves, or somebody stopped the job."""
        if self.leave.is_set():
            return "waiting"
        return "stopped" if self.queue.job(job.id).halt else None


def job_folder(queue: JobQueue) -> Path:
    """Where the recipes that the jobs' processes read are, and beside them in `.log` files what they said."""
    return queue.path.with_name(f"{queue.path.stem}.jobs")


def command(recipe: Path, run: Path) -> list[str]:
    """What a job's process is."""
    return [sys.executable, "-m", "bakehouse", "train", str(recipe), "--run", str(run), "--quiet"]


def environment(device: str) -> dict[str, str]:
    """The process's environment: it sees one GPU or none, so that the recipe need not name a device."""
    kind, _, number = device.partition(":")
    own = dict(os.environ)
    if kind == "cpu":
        own["CUDA_VISIBLE_DEVICES"] = ""
    elif kind == "cuda":
        seen = [d for d in own.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
        index = int(number or 0)
        # Numbers count the devices that this process itself may see.
        own["CUDA_VISIBLE_DEVICES"] = seen[index] if index < len(seen) else str(index)
    return own


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(log: Path, code: int) -> str:
    lines = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    if lines:
        return "\n".join(lines[-_ERROR_LINES:])
    return f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
