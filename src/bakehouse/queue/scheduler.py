"""The scheduler: takes waiting jobs from the queue and has an executor run them, one at a time on each device.

A job that crashes, runs out of memory or is killed ends alone. Training resumes exactly where its last state was saved,
so a job that was interrupted is simply run again.
"""

from __future__ import annotations

import contextlib
import queue as thread_queues
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event, Warned
from bakehouse.core.files import write_text
from bakehouse.core.folder_lock import InUseError, locked
from bakehouse.queue.executor import Executor, JobHandle, LocalExecutor
from bakehouse.queue.job_queue import Job, JobQueue, JobState

POLL_SECONDS = 0.3
_IDLE_SECONDS = 1.0
_ERROR_LINES = 6


@dataclass(frozen=True, kw_only=True)
class JobChanged(Event):
    """A job began or ended."""

    job: int
    name: str
    state: JobState
    device: str
    run: str
    error: str = ""


def run_jobs(
    queue: JobQueue,
    devices: Sequence[str] = ("auto",),
    *,
    executor: Executor | None = None,
    watch: bool = False,
    stop: threading.Event | None = None,
) -> Iterator[Event]:
    """Run the waiting jobs until none is left, yielding an event for each that begins or ends.

    A job is cancelled with `queue.stop(job)` from any thread or process; `follow_events` yields what its training does.
    Closing the generator, an exception such as Ctrl-C, or `stop` ends the running jobs, which then wait again.

    Args:
        queue: holds the jobs.
        devices: names that the executor knows (`auto`, `cpu`, `mps`, `cuda:0`); each runs one job at a time.
        executor: runs the jobs; default: as processes on this machine.
        watch: when no job is left, wait for new ones until stopped.
        stop: set it in another thread to return as soon as the running jobs have ended.

    Raises:
        UsageError: a device is unknown or named twice.
        InUseError: another scheduler of this queue uses the device.
        BakehouseError: the queue cannot be read or written.
    """
    executor = executor or LocalExecutor()
    _check_devices(devices, executor)
    reports: thread_queues.SimpleQueue[Event | BaseException] = thread_queues.SimpleQueue()
    stop = stop or threading.Event()
    ended = threading.Event()
    with contextlib.ExitStack() as device_locks:
        for device in devices:
            device_locks.enter_context(_device_lock(queue, device))
            for job in queue.requeue_orphans(device):
                yield Warned(message=f"job {job.id} ({job.name}) was interrupted and will be resumed")
        workers = [_DeviceWorker(queue, device, executor, reports, (stop, ended), watch=watch) for device in devices]
        try:
            for worker in workers:
                worker.start()
            while any(worker.is_alive() for worker in workers):
                yield from _received(reports)
            yield from _received(reports)
        finally:
            ended.set()
            for worker in workers:
                if worker.is_alive():
                    worker.join()


def _check_devices(devices: Sequence[str], executor: Executor) -> None:
    for device in devices:
        executor.check_device(device)
    if len(set(devices)) < len(devices):
        raise UsageError(f"a device is named twice: {', '.join(devices)}", hint="each device runs one job at a time")


def _device_lock(queue: JobQueue, device: str) -> contextlib.AbstractContextManager[list[str]]:
    """The exclusive right to run this queue's jobs on a device, until the block ends or the process dies."""
    return locked(job_folder(queue) / device.replace(":", "-"), "running the queue")


def _received(reports: thread_queues.SimpleQueue[Event | BaseException]) -> Iterator[Event]:
    """The workers' events so far, waiting a moment for the first; raises what a worker has raised."""
    with contextlib.suppress(thread_queues.Empty):
        report = reports.get(timeout=POLL_SECONDS)
        while True:
            if isinstance(report, BaseException):
                raise report
            yield report
            report = reports.get_nowait()


class _DeviceWorker(threading.Thread):
    """Runs one job after the other on one device."""

    def __init__(
        self,
        queue: JobQueue,
        device: str,
        executor: Executor,
        reports: thread_queues.SimpleQueue[Event | BaseException],
        stops: Sequence[threading.Event],
        *,
        watch: bool,
    ) -> None:
        super().__init__(name=f"queue-{device}")
        self.queue, self.device, self.executor, self.reports = queue, device, executor, reports
        self.stops, self.watch = stops, watch

    @property
    def is_stopped(self) -> bool:
        return any(stop.is_set() for stop in self.stops)

    def run(self) -> None:
        try:
            while not self.is_stopped:
                job = self.queue.claim_next(self.device)
                if job is not None:
                    self.report(job)
                    self.report(self.run_job(job))
                elif self.watch:
                    self.sleep(_IDLE_SECONDS)
                else:
                    return
        except BaseException as e:
            self.reports.put(e)  # raised again by the thread that iterates over run_jobs

    def report(self, job: Job) -> None:
        changed = JobChanged(
            job=job.id, name=job.name, state=job.state, device=job.device, run=str(job.run), error=job.error
        )
        self.reports.put(changed)

    def run_job(self, job: Job) -> Job:
        """Run one job to its end and return it as it is then."""
        if interrupted := self.wait_for_run_folder(job):
            return self.queue.finish(job.id, interrupted)
        if not job.is_intact:
            damage = f"the recipe stored in {self.queue.path} is damaged (its sha256 does not match)"
            return self.queue.finish(job.id, "failed", f"{damage}: remove the job and add it again")
        try:
            recipe = write_text(job_folder(self.queue) / f"{job.id:05d}.toml", job.recipe)
            handle = self.executor.start(recipe, job.run, self.device)
        except (BakehouseError, OSError) as e:
            return self.queue.finish(job.id, "failed", str(e))
        if interrupted := self.wait(handle, job):
            return self.queue.finish(job.id, interrupted)
        if code := handle.poll():
            return self.queue.finish(job.id, "failed", _failure(handle, code))
        return self.queue.finish(job.id, "done")

    def wait_for_run_folder(self, job: Job) -> JobState | None:
        """Wait while another process trains in the run folder: a killed scheduler leaves its jobs' processes behind."""
        while job.run.is_dir():
            try:
                with locked(job.run, "waiting for its turn"):
                    return None
            except InUseError:
                if interrupted := self.requested_state(job):
                    return interrupted
                self.sleep(POLL_SECONDS)
        return None

    def wait(self, handle: JobHandle, job: Job) -> JobState | None:
        """Wait until the job has ended; return its new state if it was interrupted, else None."""
        try:
            while handle.poll() is None:
                if interrupted := self.requested_state(job):
                    handle.terminate()
                    return interrupted
                self.sleep(POLL_SECONDS)
        except BaseException:
            handle.terminate()  # with the queue unreadable nobody else would end it
            raise
        return None

    def requested_state(self, job: Job) -> JobState | None:
        """Return the state that a running job has to change to: the scheduler stops, or the job was cancelled."""
        if self.is_stopped:
            return "waiting"
        return "stopped" if self.queue.job(job.id).halt else None

    def sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.is_stopped and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))


def job_folder(queue: JobQueue) -> Path:
    """Return the folder with the recipe and the log of each job's process: `queue.jobs` beside `queue.db`."""
    return queue.path.with_name(f"{queue.path.stem}.jobs")


def _failure(handle: JobHandle, code: int) -> str:
    lines = [line for line in handle.log().splitlines() if line.strip()]
    if lines:
        return "\n".join(lines[-_ERROR_LINES:])
    return f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
