"""The engine: takes drawings, has workers draw them, a batch at a time. All of work that the server sees."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.generation.request import ImageRequest
from bakehouse.generation.request_json import request_to_json
from bakehouse.serve.errors import ServeError
from bakehouse.serve.work.draw_task import DrawTask, Unit
from bakehouse.serve.work.drawing import Drawing, ImageFormat, Picture
from bakehouse.serve.work.fair_queue import FairQueue, QueueFullError
from bakehouse.serve.work.residency import State
from bakehouse.serve.work.seat import Seat
from bakehouse.serve.work.served_models import ModelToServe, ServedModel, ServedModels
from bakehouse.serve.work.worker_process import WorkerSettings

log = logging.getLogger("bakehouse.serve")

_QUANTUM = 512.0 * 512 * 20
"""Work of one turn in the queue, in pixels x steps."""
_BATCH_PIXELS = 4 * 512 * 512
_MAX_BATCH = 16
"""The limits of `generation.pipeline`: a batch of more pictures would be split there."""
_SWEEP_SECONDS = 1.0
_SHARED_IDLE_SECONDS = 20.0
_SHARE_OF_FREE_MEMORY = 0.8
_KEPT_TASKS = 16
"""Tasks that have ended and can still be asked about; they hold their pictures."""


@dataclass(frozen=True)
class EngineSettings:
    """How work is done."""

    workers: tuple[WorkerSettings, ...] = (WorkerSettings(),)
    """One for each device."""
    queue: int = 256
    """Pictures that may wait."""
    budget: int | None = None
    """Bytes of models on each device; None: most of what is free there."""
    parking: int = 0
    """Bytes of models in main memory, for each device other than the CPU."""
    idle_seconds: float | None = None
    """Unload models that were not used for so long."""
    max_batch: int = _MAX_BATCH
    """Pictures at once."""


class Engine:
    """Everything that draws. Made and used in one event loop."""

    def __init__(self, settings: EngineSettings, *, is_shared: Callable[[], bool] = lambda: False) -> None:
        """Begin with nothing.

        Args:
            settings: how to work.
            is_shared: whether something else works on the devices: models are then unloaded soon after their use.
        """
        self.settings, self.is_shared = settings, is_shared
        self.models = ServedModels(())
        self.tasks: dict[str, DrawTask] = {}
        """Those that wait or run, and the last that have ended."""
        self.drawn = 0
        """Pictures so far."""
        self.batches = 0
        """Batches that drew them."""
        self._queue: FairQueue[Unit] = FairQueue(limit=settings.queue, quantum=_QUANTUM)
        self._by_key: dict[str, ServedModel] = {}
        self._hashes: dict[str, str] = {}
        self._seats = [Seat(worker, self._by_key, self._hashes) for worker in settings.workers]
        self._more = asyncio.Condition()
        self._running: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._is_draining = False

    async def start(self, models: Sequence[ModelToServe]) -> None:
        """Start the workers and describe the models; none is loaded yet.

        Raises:
            UsageError: a device or a model that is not there, or that may not be served.
            BakehouseError: a file is damaged, or a worker does not start.
        """
        await asyncio.gather(*(seat.worker.start() for seat in self._seats))
        for seat in self._seats:
            free = int(seat.worker.facts["memory"]["free"] * _SHARE_OF_FREE_MEMORY)
            on_cpu = seat.worker.facts["device"] == "cpu"
            seat.residency.budget = self.settings.budget or free
            seat.residency.parking = 0 if on_cpu else self.settings.parking
            seat.residency.idle_seconds = self.settings.idle_seconds
        served = []
        for model in models:
            try:
                served.append(await self._described(model))
            except ServeError as e:
                raise (UsageError if e.code == "invalid_request" else BakehouseError)(e.message, hint=e.hint) from e
        self.models = ServedModels(served)
        for one in reversed(served):
            self._by_key[one.key] = one
        self._running = [asyncio.ensure_future(self._work(seat)) for seat in self._seats]
        self._running.append(asyncio.ensure_future(self._sweep()))

    async def add_model(self, model: ModelToServe) -> ServedModel:
        """Offer one more model, or another one under a name; it is loaded when it is asked for.

        Raises:
            ServeError: it is not there, is damaged, or may not be served.
        """
        described = await self._described(model)
        self.models = self.models.with_model(described)
        self._by_key.setdefault(described.key, described)
        return described

    def remove_model(self, name: str) -> None:
        """Offer a model no more; pictures of it that wait fail, and those that are being drawn are finished."""
        self.models = self.models.without(name)
        for unit in self._queue.remove(lambda unit: unit.task.drawing.model == name):
            unit.task.fail(ServeError(404, "model_not_found", f"model {name!r} is not served any more"))

    async def give_back(self) -> None:
        """Unload the models that nobody uses right now: something else needs the devices."""
        for seat in self._seats:
            with contextlib.suppress(ServeError):  # a worker that has ended holds nothing
                await seat.residency.give_back()

    async def stop(self, *, grace: float) -> None:
        """Take nothing more, give what is being drawn `grace` seconds to end, and end the workers."""
        self._is_draining = True
        for unit in self._queue.remove(lambda _: True):
            unit.task.fail(_stopping())
        open_tasks = [asyncio.ensure_future(t.wait()) for t in self.tasks.values() if not t.has_ended]
        if open_tasks:
            await asyncio.wait(open_tasks, timeout=grace)
        for task in self.tasks.values():
            task.fail(_stopping())
        for running in (*self._running, *self._background):
            running.cancel()
        await asyncio.gather(*self._running, *self._background, return_exceptions=True)
        await asyncio.gather(*(seat.worker.stop() for seat in self._seats))

    def submit(
        self,
        drawing: Drawing,
        caller: str,
        *,
        task_id: str | None = None,
        finished: frozenset[int] = frozenset(),
        was_accepted: bool = False,
    ) -> DrawTask:
        """Queue a drawing and return its task.

        Args:
            drawing: what to draw.
            caller: see `DrawTask`, as for `task_id` and `finished`.
            task_id: default: a new one.
            finished: pictures that need not be drawn.
            was_accepted: by a server before this one: it is queued however full the queue is.

        Raises:
            ServeError: no such model, the queue is full, or the server is stopping.
        """
        if self._is_draining:
            raise _stopping()
        self.models.find(drawing.model)
        task = DrawTask(drawing.seeded(), caller, task_id=task_id, finished=finished)
        task.stop_running = lambda: self._stop_unwanted()
        try:
            self._queue.add(caller, [(unit, self._cost(unit)) for unit in task.units], always=was_accepted)
        except QueueFullError as e:
            waiting = len(self._queue)
            raise ServeError(
                503, "busy", f"the server is busy: {waiting} pictures wait", hint="try again later", retry_after=10.0
            ) from e
        self.tasks[task.id] = task
        for old in [t for t in self.tasks.values() if t.has_ended][:-_KEPT_TASKS]:
            del self.tasks[old.id]
        self._in_background(self._wake())
        return task

    def place(self, task: DrawTask) -> int | None:
        """Return how many pictures are drawn before a task's next one; None if it has ended or is being drawn."""
        if task.has_ended or task.state != "waiting":
            return None
        order = self._queue.order()
        running = sum(len(seat.running) for seat in self._seats)
        return running + next((i for i, unit in enumerate(order) if unit.task is task), 0)

    def running_of(self, task: DrawTask) -> set[int]:
        """Return the numbers of a task's pictures that a worker draws now."""
        return {unit.number for seat in self._seats for unit in seat.running if unit.task is task}

    def state(self, model: ServedModel) -> State:
        """Return where a model is: the best of all devices."""
        states = [seat.residency.state(model.key) for seat in self._seats]
        return next((s for s in ("warm", "loading", "parked", "failed") if s in states), "cold")

    def estimated_time(self, model: ServedModel) -> float:
        """Return the seconds until a model is warm on some device."""
        return min(seat.residency.estimated_time(model.key, model.bytes) for seat in self._seats)

    def begin_loading(self, model: ServedModel) -> None:
        """Load a model, unless it is loaded or being loaded; returns at once."""
        if self.state(model) not in ("warm", "loading"):
            self._in_background(self._load(self._seats[0], model))

    @property
    def hashes(self) -> dict[str, str]:
        """Ten digits of the hash of each model's base, by the model's name, once it was loaded."""
        return {model.name: self._hashes[model.key] for model in self.models if model.key in self._hashes}

    async def prompt_files(self) -> dict[str, Any]:
        """Return the adapters and embeddings that prompts may name: `loras` and `embeddings`."""
        return dict(await self._seats[0].worker.ask("files"))

    @property
    def waiting(self) -> int:
        """Pictures in the queue."""
        return len(self._queue)

    @property
    def is_ready(self) -> bool:
        """Whether a worker is there and drawings are taken."""
        return not self._is_draining and any(seat.worker.is_ready for seat in self._seats)

    def facts(self) -> dict[str, Any]:
        """Return what the first worker said of itself: device, memory, samplers, schedules, upscalers."""
        return self._seats[0].worker.facts

    def devices(self) -> list[dict[str, Any]]:
        """Return the state of each device: for `/metrics` and administrators."""
        return [
            {
                "device": seat.worker.facts.get("device", seat.worker.settings.device),
                "pid": seat.worker.pid,
                "ready": seat.worker.is_ready,
                "restarts": seat.worker.restarts,
                "bytes": seat.residency.bytes,
                "budget": seat.residency.budget,
                "drawing": len(seat.running),
            }
            for seat in self._seats
        ]

    async def memory(self) -> dict[str, int]:
        """Return free and total bytes of the first device."""
        return dict(await self._seats[0].worker.ask("memory"))

    async def enlarge(self, file: str, upscaler: str, size: tuple[int, int]) -> bytes:
        """Return an image file enlarged to a width and height in pixels, as PNG.

        Raises:
            ServeError: the upscaler cannot be used.
        """
        seat = self._seats[0]
        _, files = await seat.worker.ask_for_file(
            "enlarge", file=file, upscaler=upscaler, width=size[0], height=size[1], device=seat.worker.facts["device"]
        )
        return files[0]

    async def tag(self, file: str) -> str:
        """Return the tags of an image file, joined by commas."""
        return str(await self._seats[0].worker.ask("tag", file=file))

    def _cost(self, unit: Unit) -> float:
        native = self.models.find(unit.task.drawing.model).native_size
        request = unit.request
        return float((request.width or native) * (request.height or native) * request.steps)

    async def _wake(self) -> None:
        async with self._more:
            self._more.notify_all()

    def _in_background(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _described(self, model: ModelToServe) -> ServedModel:
        facts = await self._seats[0].worker.ask("describe", ref=model.ref, base=model.base)
        return ServedModel(model.name, model.ref, model.base, facts["key"], facts)

    async def _load(self, seat: Seat, model: ServedModel) -> None:
        with contextlib.suppress(BakehouseError):  # remembered, and told to who asks for the model next
            async with seat.residency.lease(model.key, model.bytes):
                pass

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for seat in self._seats:
                with contextlib.suppress(ServeError):
                    await seat.residency.sweep(_SHARED_IDLE_SECONDS if self.is_shared() else None)

    async def _work(self, seat: Seat) -> None:
        """Draw batch after batch on one worker."""
        while True:
            async with self._more:
                while not (seat.worker.is_ready and len(self._queue)):
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._more.wait(), timeout=0.25 if len(self._queue) else None)
                unit = self._queue.take()
            if unit is None or not unit.is_wanted:
                continue
            try:
                batch = [unit, *self._queue.take_alike(functools.partial(self._alike, unit), self._room_beside(unit))]
                self._tell_places()
            except Exception:
                # Whatever it is, it must not end this loop: nothing would be drawn any more.
                log.exception("a batch could not be put together")
                unit.task.fail(_internal_error())
                continue
            await self._draw_batch(seat, [one for one in batch if one.is_wanted])

    async def _draw_batch(self, seat: Seat, batch: list[Unit]) -> None:
        try:
            await self._draw(seat, batch)
        except ServeError as e:
            wanted = [unit for unit in batch if unit.is_wanted]
            if len({unit.task for unit in batch}) > 1 and e.code in ("invalid_request", "failed"):
                for unit in wanted:  # one of them is at fault, and the others are not
                    await self._draw_batch(seat, [unit])
                return
            for unit in wanted:
                unit.task.fail(e)
        except BakehouseError as e:
            for unit in batch:
                unit.task.fail(ServeError(500, "failed", e.message, hint=e.hint))
        except Exception:
            log.exception("drawing failed")
            for unit in batch:
                unit.task.fail(_internal_error())

    async def _draw(self, seat: Seat, batch: list[Unit]) -> None:
        drawing = batch[0].task.drawing
        model = self.models.find(drawing.model)
        async with seat.residency.lease(model.key, model.bytes):
            batch = [unit for unit in batch if unit.is_wanted]
            if not batch:
                return
            seat.running, seat.number = batch, seat.worker.next_number()
            self.batches += 1
            for unit in batch:
                unit.task.begin()
            try:
                stream = seat.worker.stream(
                    seat.number,
                    "draw",
                    ref=model.ref,
                    base=model.base,
                    requests=[request_to_json(unit.request) for unit in batch],
                    formats=[vars(unit.task.drawing.format) for unit in batch],
                    preview_every=min((u.task.drawing.preview_every for u in batch if u.task.drawing.preview_every),
                                      default=0),
                )  # fmt: skip
                async with contextlib.aclosing(stream) as messages:
                    async for message in messages:
                        self._pass_on(batch, message.values, message.attached)
            finally:
                seat.running = []

    def _pass_on(self, batch: list[Unit], values: dict[str, Any], attached: tuple[bytes, ...]) -> None:
        """Tell the tasks of a batch what the worker reports."""
        tasks = {unit.task for unit in batch if unit.is_wanted}
        if "step" in values:
            for task in tasks:
                task.report_step(values["step"], values["steps"])
        elif "preview" in values:
            unit = batch[values["preview"]]
            if unit.is_wanted and unit.task.drawing.preview_every:
                unit.task.preview = values["png"]
                unit.task.tell({"event": "preview", "number": unit.number, "png": values["png"]})
        elif "warning" in values:
            for task in tasks:
                task.tell({"event": "warning", "message": values["warning"]})
        elif "picture" in values:
            unit = batch[values["picture"]]
            self.drawn += unit.is_wanted
            unit.task.add(_picture(unit, values, attached[0], unit.task.drawing.format))
        elif "seconds" in values:
            for task in {unit.task for unit in batch}:
                task.seconds += values["seconds"] / len(batch)

    def _stop_unwanted(self) -> None:
        """Drop what nobody wants any more; stop a worker whose whole batch is unwanted."""
        self._queue.remove(lambda unit: not unit.is_wanted)
        for seat in self._seats:
            if seat.running and not any(unit.is_wanted for unit in seat.running):
                self._in_background(seat.worker.cancel(seat.number))

    def _tell_places(self) -> None:
        waiting = [t for t in self.tasks.values() if t.state == "waiting" and t.has_listeners]
        for task in waiting:
            task.tell({"event": "queued", "place": self.place(task)})

    def _alike(self, unit: Unit, other: Unit) -> bool:
        return (
            unit.task.drawing.model == other.task.drawing.model
            and unit.request.from_words_alone
            and self._shape(unit.request) == self._shape(other.request)
            and other.is_wanted
        )

    def _room_beside(self, unit: Unit) -> int:
        """Return how many more pictures of this size fit into a batch."""
        native = self.models.find(unit.task.drawing.model).native_size
        pixels = (unit.request.width or native) * (unit.request.height or native)
        if not unit.request.from_words_alone:
            return 0
        return max(1, min(self.settings.max_batch, _BATCH_PIXELS // pixels)) - 1

    @staticmethod
    def _shape(request: ImageRequest) -> ImageRequest:
        """Return what pictures of a batch have in common: all but words and seeds."""
        return replace(request, prompt="", negative="", seed=0, variation_seed=0)


def _picture(unit: Unit, values: dict[str, Any], data: bytes, form: ImageFormat) -> Picture:
    return Picture(
        data=data,
        format=form,
        number=unit.number,
        seed=values["seed"],
        width=values["width"],
        height=values["height"],
        infotext=values["infotext"],
        flagged=values["flagged"],
        facts=values["facts"],
    )


def _internal_error() -> ServeError:
    return ServeError(500, "internal_error", "the server failed; its log says more")


def _stopping() -> ServeError:
    return ServeError(503, "stopping", "the server is stopping", hint="try again when it is back", retry_after=30.0)
