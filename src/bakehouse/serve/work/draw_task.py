"""One drawing on its way: its pictures, its events, and how it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

from bakehouse.generation.request import ImageRequest
from bakehouse.serve.errors import ServeError
from bakehouse.serve.work.drawing import Drawing, Picture

TaskState = Literal["waiting", "running", "done", "failed", "canceled"]


@dataclass(eq=False)
class Unit:
    """One picture of a task: what the queue holds and a worker draws."""

    task: DrawTask
    number: int
    """Place in the task, from 0."""
    request: ImageRequest
    """Of this picture alone, with its seed."""

    @property
    def is_wanted(self) -> bool:
        return self.number in self.task.open


class DrawTask:
    """One drawing. It ends when each of its pictures is finished or given up."""

    def __init__(
        self, drawing: Drawing, caller: str, *, task_id: str | None = None, finished: frozenset[int] = frozenset()
    ) -> None:
        """Begin a task.

        Args:
            drawing: with its seeds decided.
            caller: who asks, for fairness.
            task_id: default: a new one.
            finished: numbers of pictures that exist already, of a job that is continued.
        """
        self.id = task_id or secrets.token_hex(12)
        self.label: str | None = None
        """What the caller calls it."""
        self.drawing, self.caller = drawing, caller
        self.units = [
            Unit(self, number, request)
            for number, request in enumerate(drawing.request.each())
            if number not in finished
        ]
        self.total = len(self.units) + len(finished)
        self.open = {unit.number for unit in self.units}
        """Numbers of the pictures that are neither finished nor given up."""
        self.pictures: dict[int, Picture] = {}
        self.state: TaskState = "waiting"
        self.began: float | None = None
        """Monotonic seconds at which the first picture was begun."""
        self.step, self.steps = 0, drawing.request.steps
        self.preview: str | None = None
        """Base64 of the newest preview's PNG."""
        self.seconds = 0.0
        """Seconds of a worker's time."""
        self.was_interrupted = False
        self.on_picture: Callable[[Picture], None] | None = None
        self._ended: asyncio.Future[list[Picture]] = asyncio.get_running_loop().create_future()
        self._ended.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen
        self._listeners: set[asyncio.Queue[dict[str, Any]]] = set()
        self.stop_running: Callable[[], None] = lambda: None
        """Set by the engine: looks whether what a worker draws now is still wanted."""
        self._finish_if_complete()

    @property
    def has_ended(self) -> bool:
        return self._ended.done()

    @property
    def progress(self) -> float:
        """Share that is done, 0 to 1."""
        if self.has_ended:
            return 1.0
        here = self.step / self.steps if self.steps else 0.0
        return min(1.0, (self.total - len(self.open) + (here if self.open else 0.0)) / max(1, self.total))

    async def wait(self) -> list[Picture]:
        """Return the finished pictures in order.

        Raises:
            ServeError: it failed, or was canceled.
        """
        return await asyncio.shield(self._ended)

    def cancel(self) -> None:
        """Give up: what waits is dropped, what is being drawn is stopped, pictures so far are not delivered."""
        if not self.has_ended:
            self.open.clear()
            self.fail(ServeError(499, "canceled", "the request was canceled"), state="canceled")
            self.stop_running()

    def interrupt(self) -> None:
        """Stop and deliver the pictures that are finished so far."""
        self.was_interrupted = True
        self.open.clear()
        self._finish_if_complete()
        self.stop_running()

    def skip(self, numbers: set[int]) -> None:
        """Give up single pictures; the others are drawn."""
        self.open -= numbers
        self.stop_running()
        self._finish_if_complete()

    def begin(self) -> None:
        """Note that a worker has begun with it."""
        if self.state == "waiting":
            self.state = "running"
            self.began = time.monotonic()
            self.tell({"event": "started"})

    def report_step(self, step: int, steps: int) -> None:
        """Note how far the pictures that are being drawn are."""
        self.step, self.steps = step, steps
        self.tell({"event": "step", "step": step, "steps": steps, "progress": round(self.progress, 4)})

    def add(self, picture: Picture) -> None:
        """Add a finished picture."""
        if picture.number not in self.open:
            return
        self.open.discard(picture.number)
        self.pictures[picture.number] = picture
        self.step = 0
        if self.on_picture is not None:
            self.on_picture(picture)
        size = {"width": picture.width, "height": picture.height}
        self.tell({"event": "picture", "number": picture.number, "seed": picture.seed, **size})
        self._finish_if_complete()

    def fail(self, error: ServeError, *, state: TaskState = "failed") -> None:
        """End with an error."""
        if self.has_ended:
            return
        self.open.clear()
        self.state = state
        self._ended.set_exception(error)
        self.tell({"event": state, "error": error.text, "code": error.code})

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event to all who listen. Who does not read loses previews and steps, never the end."""
        for inbox in self._listeners:
            if inbox.qsize() < 1000 or event["event"] in ("done", "failed", "canceled"):
                inbox.put_nowait(event)

    @property
    def has_listeners(self) -> bool:
        return bool(self._listeners)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what has happened so far in short, then each event until the end."""
        inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._listeners.add(inbox)
        try:
            for event in self._summary():
                yield event
            while not (self.has_ended and inbox.empty()):
                event = await inbox.get()
                yield event
        finally:
            self._listeners.discard(inbox)

    def _summary(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = [{"event": "waiting" if self.state == "waiting" else "started"}]
        events += [
            {"event": "picture", "number": p.number, "seed": p.seed, "width": p.width, "height": p.height}
            for p in self.pictures.values()
        ]
        if self.state == "done":
            events.append({"event": "done", "pictures": len(self.pictures)})
        elif self.has_ended:
            error = self._ended.exception()
            events.append({"event": self.state, "error": error.text if isinstance(error, ServeError) else str(error)})
        return events

    def _finish_if_complete(self) -> None:
        if not self.open and not self.has_ended:
            self.state = "done"
            with contextlib.suppress(asyncio.InvalidStateError):
                self._ended.set_result([self.pictures[number] for number in sorted(self.pictures)])
            self.tell({"event": "done", "pictures": len(self.pictures)})
