"""Runs tasks: commands in processes of their own, one at a time for each dataset or run.

A task has a folder with what its process writes: `out`, `log`, `progress`, and how it ended. A server that was killed
leaves the processes running; the next one finds them by the lock of their folder, or by how they ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bakehouse.core.folder_lock import InUseError, locked
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.serve.errors import ServeError
from bakehouse.serve.store.task_entries import TaskEntries, TaskEntry, TaskState
from bakehouse.serve.tasks.run_command import ENDED, PID

log = logging.getLogger("bakehouse.serve")

_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0
_START_SECONDS = 20.0
_MOST_WAITING = 100
_KEPT = 200
"""Tasks that have ended and can still be asked for."""
_ERROR_LINES = 8
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
                await asyncio.to_thread(_kill, self._folder / entry.id, self._processes.pop(entry.id, None))
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
        return None if entry.has_ended else last_progress(self._folder / entry.id / "progress")

    def result(self, entry: TaskEntry) -> Any:
        """Return what a task that is done has printed as JSON; None if it has printed nothing of the kind."""
        if entry.state != "done":
            return None
        try:
            return parse_json((self._folder / entry.id / "out").read_bytes())
        except (OSError, ValueError):
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
            place = self._folder / entry.id
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

    async def _spawned(self, entry: TaskEntry, place: Path) -> subprocess.Popen[bytes]:
        """Start a task's process. One that is canceled meanwhile is known too, so that it can be ended."""
        spawning = asyncio.ensure_future(asyncio.to_thread(_spawn, place, entry.arguments))
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


def _kill(place: Path, process: subprocess.Popen[bytes] | None) -> None:
    """End a task's process and what it has started: asked first, then killed."""

    def runs() -> bool:
        return process.poll() is None if process is not None else _is_locked(place)

    for number in (signal.SIGTERM, signal.SIGKILL):
        if not runs():
            return
        with contextlib.suppress(OSError, ValueError):
            os.killpg(process.pid if process is not None else int((place / PID).read_text()), number)
        end = time.monotonic() + _STOP_SECONDS
        while runs() and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)


async def _found_again(place: Path) -> None:
    """Wait for the process that an earlier server has started; it may have been about to begin."""
    end = time.monotonic() + _START_SECONDS
    while not (place / PID).exists() and time.monotonic() < end:
        await asyncio.sleep(_POLL_SECONDS)
    while _is_locked(place):
        await asyncio.sleep(5 * _POLL_SECONDS)


def last_progress(file: Path) -> dict[str, Any] | None:
    """Return the newest line of a file of progress; None if there is none yet."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        with file.open("rb") as f:
            f.seek(max(0, f.seek(0, os.SEEK_END) - 4096))
            lines = f.read().rpartition(b"\n")[0].splitlines()
        if lines:
            event = parse_json(lines[-1])
            return {"what": str(event["what"]), "done": int(event["done"]), "total": int(event["total"])}
    return None


def _needs_device(entry: TaskEntry) -> bool:
    return entry.kind in ("evaluate", "extend")


def _spawn(place: Path, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
    work = place / "work"  # empty: no relative name of a request is a file
    work.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, "BAKEHOUSE_PROGRESS": str(place / "progress"), "NO_COLOR": "1"}
    with (place / "out").open("wb") as out, (place / "log").open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "bakehouse.serve.tasks.run_command", str(place), *arguments],
            cwd=work,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            start_new_session=True,  # it outlives the server
        )


def _is_locked(place: Path) -> bool:
    try:
        with locked(place, "looking"):
            return False
    except InUseError:
        return True


def _outcome(entry: TaskEntry, place: Path) -> tuple[TaskState, str]:
    """Return how a process has ended, and its message if it failed."""
    shutil.rmtree(place / "work", ignore_errors=True)
    try:
        code = int((place / ENDED).read_text())
    except (OSError, ValueError):
        return "failed", "the command was interrupted: its process has ended; start it again"
    if code == 0 or (code == _FINDINGS_EXIT and entry.kind == "audit" and _printed_json(place)):
        return "done", ""
    lines = (place / "log").read_text("utf-8", "replace").splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith("error: ")), max(0, len(lines) - _ERROR_LINES))
    said = "\n".join(line.removeprefix("error: ") for line in lines[begin : begin + _ERROR_LINES])
    return "failed", said or f"the command ended with exit code {code}"


def _printed_json(place: Path) -> bool:
    return (place / "out").stat().st_size > 0
