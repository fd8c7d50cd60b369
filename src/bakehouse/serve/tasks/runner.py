"""Runs tasks: commands in processes of their own, one at a time for each dataset or run.

A task has a folder with what its process writes: `out`, `log`, `progress`, and how it ended. A server that was killed
leaves the processes running; the next one finds them by the lock of their folder, or by how they ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.serve.errors import ServeError
from bakehouse.serve.store.task_entries import TaskEntries, TaskEntry, TaskState
from bakehouse.serve.tasks.command_process import START_SECONDS, CommandProcess

log = logging.getLogger("bakehouse.serve")

_POLL_SECONDS = 0.1
_MOST_WAITING = 100
_KEPT = 200
"""Tasks that have ended and can still be asked for."""
_FINDINGS_EXIT = 1
"""The exit code of an audit that has found errors."""

OnEnded = Callable[[TaskEntry], Awaitable[None]]


class TaskRunner:
    """The tasks of a server. Made and used in one event loop.

    Args:
        entries: where tasks are kept.
        folder: for what their processes write.
        at_once: tasks that run at the same time.
        may_use_device: whether a task that needs the device may begin now.
        give_back: frees the device's memory before one begins.
        on_ended: called with each task that has ended.
    """

    def __init__(
        self,
        entries: TaskEntries,
        folder: Path,
        *,
        at_once: int = 2,
        may_use_device: Callable[[], bool] = lambda: True,
        give_back: Callable[[], Awaitable[None]] | None = None,
        on_ended: OnEnded | None = None,
    ) -> None:
        self.entries, self._folder, self._at_once = entries, folder, at_once
        self._may_use_device, self._give_back, self._on_ended = may_use_device, give_back, on_ended
        self._active: dict[str, TaskEntry] = {}
        """In the order in which they were added."""
        self._running: dict[str, asyncio.Task[None]] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        """Of this server; those of an earlier one are known by the locks of their folders."""
        self._canceling: set[str] = set()
        self._changed = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Go on with what an earlier server has left, and begin to work."""
        for entry in self.entries.unfinished():
            self._active[entry.id] = entry
        for old in self.entries.forget_older(_KEPT):
            shutil.rmtree(self._folder / old, ignore_errors=True)
        self._loop = asyncio.ensure_future(self._work())

    async def stop(self) -> None:
        """Stop watching. Processes run on; the next server finds them."""
        for task in (self._loop, *self._running.values()):
            if task is not None:
                task.cancel()
        await asyncio.gather(*filter(None, (self._loop, *self._running.values())), return_exceptions=True)

    async def add(self, kind: str, subject: str, arguments: tuple[str, ...], caller: str) -> TaskEntry:
        """Queue a command.

        Raises:
            ServeError: too many wait (503).
        """
        if len(self._active) >= _MOST_WAITING:
            raise ServeError(503, "busy", f"the server is busy: {len(self._active)} tasks wait", retry_after=10.0)
        entry = await asyncio.to_thread(self.entries.add, secrets.token_hex(12), caller, kind, subject, arguments)
        self._active[entry.id] = entry
        self._changed.set()
        return entry

    async def wait(self, task: str, seconds: float) -> TaskEntry | None:
        """Return a task when it has ended, or as it is after some seconds."""
        end = asyncio.get_running_loop().time() + seconds
        while task in self._active and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(_POLL_SECONDS)
        return self.entries.find(task)

    async def cancel(self, entry: TaskEntry) -> None:
        """Stop a task; a step that its process has begun to write is completed by the next command."""
        if entry.id not in self._active:
            return
        self._canceling.add(entry.id)
        try:
            running = self._running.get(entry.id)
            if running is not None:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                self._running.pop(entry.id, None)  # one that had not begun has not done it itself
                process = self._processes.pop(entry.id, None)
                await asyncio.to_thread(CommandProcess(self._folder / entry.id).stop, process)
            await self._end(entry, "canceled", "it was canceled")
        finally:
            self._canceling.discard(entry.id)

    def is_busy(self, subject: str) -> bool:
        """Whether a task of a dataset or run waits or runs."""
        return any(entry.subject == subject for entry in self._active.values())

    @property
    def uses_device(self) -> bool:
        """Whether a task that needs the device is running."""
        return any(_needs_device(self._active[task]) for task in self._running if task in self._active)

    def place(self, entry: TaskEntry) -> int | None:
        """Return how many tasks are before a waiting one."""
        waiting = [one for one in self._active if one not in self._running]
        return waiting.index(entry.id) if entry.id in waiting else None

    def progress(self, entry: TaskEntry) -> dict[str, Any] | None:
        """Return the newest progress of a running task: `what`, `done` and `total`."""
        return None if entry.has_ended else CommandProcess(self._folder / entry.id).progress()

    def result(self, entry: TaskEntry) -> Any:
        """Return what a task that is done has printed as JSON; None if it has printed nothing of the kind."""
        if entry.state != "done":
            return None
        try:
            return parse_json(CommandProcess(self._folder / entry.id).printed())
        except ValueError:
            return None

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            for entry in self._startable():
                running = asyncio.ensure_future(self._run(entry))
                self._running[entry.id] = running
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), timeout=1.0 if self._active else None)

    def _startable(self) -> list[TaskEntry]:
        """Return what may begin now: first those that an earlier server has begun."""
        chosen: list[TaskEntry] = []
        busy = {self._active[task].subject for task in self._running if task in self._active}
        may_use_device = self._may_use_device() and not self.uses_device
        for entry in sorted(self._active.values(), key=lambda one: one.state != "running"):
            waits_for_device = _needs_device(entry) and not may_use_device
            is_taken = entry.id in self._running or entry.id in self._canceling
            if is_taken or entry.subject in busy or (waits_for_device and entry.state == "waiting"):
                continue
            if len(self._running) + len(chosen) >= self._at_once and entry.state == "waiting":
                continue
            busy.add(entry.subject)
            may_use_device = may_use_device and not _needs_device(entry)
            chosen.append(entry)
        return chosen

    async def _run(self, entry: TaskEntry) -> None:
        try:
            place = CommandProcess(self._folder / entry.id)
            if entry.state == "waiting":
                await asyncio.to_thread(self.entries.set_state, entry.id, "running")
                if _needs_device(entry) and self._give_back is not None:
                    await self._give_back()
                process = await self._spawned(entry, place)
                while process.poll() is None:
                    await asyncio.sleep(_POLL_SECONDS)
            else:
                await _found_again(place)
            state, error = await asyncio.to_thread(_outcome, entry, place)
            await self._end(entry, state, error)
        except OSError as e:
            await self._end(entry, "failed", f"the command could not be started: {e.strerror}")
        except Exception:
            log.exception("a task failed")
            await self._end(entry, "failed", "the server failed; its log says more")
        finally:
            self._running.pop(entry.id, None)
            if entry.id not in self._active:
                self._processes.pop(entry.id, None)
            self._changed.set()

    async def _spawned(self, entry: TaskEntry, place: CommandProcess) -> subprocess.Popen[bytes]:
        """Start a task's process. One that is canceled meanwhile is known too, so that it can be ended."""
        spawning = asyncio.ensure_future(asyncio.to_thread(place.start, entry.arguments))
        try:
            process = await asyncio.shield(spawning)
        finally:
            self._processes[entry.id] = await spawning
        return process

    async def _end(self, entry: TaskEntry, state: TaskState, error: str) -> None:
        await asyncio.to_thread(self.entries.set_state, entry.id, state, error)
        self._active.pop(entry.id, None)
        self._changed.set()
        if self._on_ended is not None:
            await self._on_ended(entry)


async def _found_again(process: CommandProcess) -> None:
    """Wait for the process that an earlier server has started; it may have been about to begin."""
    end = time.monotonic() + START_SECONDS
    while not process.has_begun and time.monotonic() < end:
        await asyncio.sleep(_POLL_SECONDS)
    while process.holds_lock:
        await asyncio.sleep(5 * _POLL_SECONDS)


def _needs_device(entry: TaskEntry) -> bool:
    return entry.kind in ("evaluate", "extend")


def _outcome(entry: TaskEntry, process: CommandProcess) -> tuple[TaskState, str]:
    """Return how a process has ended, and its message if it failed."""
    process.remove_work_folder()
    code = process.exit_code
    if code is None:
        return "failed", "the command was interrupted: its process has ended; start it again"
    if code == 0 or (code == _FINDINGS_EXIT and entry.kind == "audit" and process.printed()):
        return "done", ""
    return "failed", process.error()
