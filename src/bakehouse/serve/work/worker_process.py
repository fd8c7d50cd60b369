"""A worker process as the server sees it: started, asked, and started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict, dataclass
from typing import Any

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.serve.errors import ServeError
from bakehouse.serve.work.messages import Message, encode, receive

log = logging.getLogger("bakehouse.serve")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0
"""Seconds before a worker that has ended is started again; doubled while it ends soon after its start."""
_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker is started with."""

    device: str = "auto"
    dtype: str = "auto"
    loras: str | None = None
    embeddings: str | None = None
    safety_checker: str | None = None
    """A folder or Hub id; None: none."""


class WorkerProcess:
    """One worker. What is asked while it starts waits; what it was doing when it ended fails."""

    def __init__(self, settings: WorkerSettings, *, on_lost: Callable[[], None]) -> None:
        self.settings = settings
        self.facts: dict[str, Any] = {}
        """What the worker said when it began: device, memory, samplers, schedules, upscalers."""
        self.restarts = 0
        self._on_lost = on_lost
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Queue[Message | None]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._stopping = False
        self._last_end = ""

    @property
    def pid(self) -> int | None:
        """The process; None while there is none."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    async def start(self) -> None:
        """Start the process and wait until it is ready.

        Raises:
            UsageError: the settings cannot be followed on this machine.
            BakehouseError: it ended at once.
        """
        await self._spawn()
        self._watching = asyncio.ensure_future(self._watch())

    async def stop(self) -> None:
        """End the process."""
        self._stopping = True
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        process = self._process
        if process is not None and process.returncode is None:
            if process.stdin is not None:
                process.stdin.close()  # its reader sees the end of the stream, and it ends
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def ask(self, do: str, **values: Any) -> Any:
        """Return the result of one message.

        Raises:
            ServeError: the worker refused, failed, or ended meanwhile.
        """
        return (await self.ask_for_file(do, **values))[0]

    async def ask_for_file(self, do: str, **values: Any) -> tuple[Any, tuple[bytes, ...]]:
        """Return the result of one message and its attachments; see `ask`."""
        number = next(self._numbers)
        async with contextlib.aclosing(self.stream(number, do, **values)) as messages:
            async for message in messages:
                if message.values.get("done"):
                    return message.values.get("result"), message.attached
        raise AssertionError("a stream ends with its last message or an error")

    def next_number(self) -> int:
        """Return a number for `stream`, by which `cancel` finds it."""
        return next(self._numbers)

    async def stream(self, number: int, do: str, **values: Any) -> AsyncGenerator[Message, None]:
        """Yield the answers to one message; the last has `done`.

        Raises:
            ServeError: the worker refused, failed, or ended meanwhile.
        """
        await self._ready.wait()
        inbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._answers[number] = inbox
        try:
            await self._send({"id": number, "do": do, **values})
            while True:
                message = await inbox.get()
                if message is None:
                    raise self._lost()
                if message.values.get("done") and (error := message.values.get("error")):
                    raise _error(error)
                yield message
                if message.values.get("done"):
                    return
        finally:
            del self._answers[number]

    async def cancel(self, number: int) -> None:
        """Ask the worker to stop what `stream` with this number does; it ends within one step."""
        if number in self._answers:
            await self._send({"do": "cancel", "of": number, "id": 0})

    async def _send(self, values: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise self._lost()
        try:
            process.stdin.write(encode(values))
            await process.stdin.drain()
        except (ConnectionError, RuntimeError) as e:  # asyncio's RuntimeError: the pipe was closed
            raise self._lost() from e

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bakehouse.serve.work.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
            start_new_session=True,  # Ctrl-C reaches the server alone, which stops its workers
        )
        stream = self._process.stdout
        if stream is None:
            raise AssertionError("stdout is a pipe")
        begin = {"id": 0, "do": "begin", "settings": asdict(self.settings)}
        await self._send(begin)
        message = await receive(stream)
        if message is None:
            raise BakehouseError(
                f"the worker for {self.settings.device} ended while it started: {await self._end()}",
                hint="what it wrote to standard error says why",
            )
        if error := message.values.get("error"):
            kind = UsageError if error["kind"] == "usage" else BakehouseError
            raise kind(error["message"], hint=error["hint"])
        self.facts = message.values["result"]
        self._ready.set()

    async def _watch(self) -> None:
        """Pass answers on; when the process ends, start another."""
        pause = _FIRST_PAUSE
        while True:
            began = asyncio.get_running_loop().time()
            await self._pass_on()
            self._ready.clear()
            self._last_end = await self._end()
            for inbox in self._answers.values():
                inbox.put_nowait(None)
            self._on_lost()
            if asyncio.get_running_loop().time() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            log.error("worker ended", extra={"device": self.settings.device, "how": self._last_end})
            while True:
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
                try:
                    await self._spawn()
                    break
                except (BakehouseError, OSError) as e:
                    log.error("worker does not start", extra={"device": self.settings.device, "error": str(e)})
            self.restarts += 1

    async def _pass_on(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            raise AssertionError("the process was started with a pipe")
        while (message := await receive(process.stdout)) is not None:
            inbox = self._answers.get(int(message.values["id"]))
            if inbox is not None:
                inbox.put_nowait(message)

    async def _end(self) -> str:
        process = self._process
        if process is None:
            return "it was not started"
        try:
            code = await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            code = await process.wait()
        if code < 0:
            try:
                return f"ended by {signal.Signals(-code).name}"
            except ValueError:
                return f"ended by signal {-code}"
        return f"ended with exit code {code}"

    def _lost(self) -> ServeError:
        return ServeError(
            500,
            "worker_lost",
            f"the process that draws has ended while it worked on this ({self._last_end or 'it was stopped'})",
            hint="this picture is lost; the process is started again, and the same request can be sent again",
            retry_after=5.0,
        )


def _error(error: dict[str, Any]) -> ServeError:
    if error["kind"] == "usage":
        return ServeError(400, "invalid_request", error["message"], hint=error["hint"])
    return ServeError(500, "internal_error" if error["kind"] == "internal" else "failed", error["message"],
                      hint=error["hint"])  # fmt: skip
