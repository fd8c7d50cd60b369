"""The parts of a running server, made together and found by routes as `request.app.state.server`."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import Any

from fastapi import Request

from bakehouse.queue.job_queue import JobQueue
from bakehouse.serve.datasets.folders import Datasets
from bakehouse.serve.datasets.thumbnails import Thumbnails
from bakehouse.serve.datasets.trash import Trash
from bakehouse.serve.guard.callers import Caller, Gate
from bakehouse.serve.guard.quotas import Quotas
from bakehouse.serve.guard.uploads import Uploads
from bakehouse.serve.guard.visitors import Visitor, VisitorGate
from bakehouse.serve.metrics import Metrics
from bakehouse.serve.response_cache import ResponseCache
from bakehouse.serve.runs.planner_process import Planner
from bakehouse.serve.runs.runs import Runs
from bakehouse.serve.runs.scheduler import TrainingScheduler
from bakehouse.serve.settings import ServeSettings
from bakehouse.serve.store.store import Store
from bakehouse.serve.store.task_entries import TaskEntry
from bakehouse.serve.tasks.runner import TaskRunner
from bakehouse.serve.work.engine import Engine

_DECODING = 2
_GIVE_BACK_SECONDS = 60.0


class Server:
    """A server's parts. Made in the event loop that it runs in."""

    def __init__(self, settings: ServeSettings, store: Store, *, session_token: str | None = None) -> None:
        self.settings, self.store = settings, store
        sessions: frozenset[str] = frozenset()
        if session_token is not None:
            # Browsers that signed in before a restart stay signed in, as long as no token was made meanwhile.
            store.session_tokens.add(session_token)
            sessions = store.session_tokens.hashes()
        self.gate = Gate(store.tokens, anonymous=settings.anonymous, quota=settings.quota, session_hashes=sessions)
        self.visitors = VisitorGate(store.shares)
        self.quotas = Quotas(store.ledger)
        self.uploads = Uploads(store.uploads, settings.limits, fetch_hosts=settings.fetch_hosts)
        self.engine = Engine(settings.engine, is_shared=lambda: self.scheduler.is_training or self.tasks.uses_device)
        self.metrics = Metrics()
        self.cache = ResponseCache()
        self.datasets = Datasets(settings.datasets_folder)
        self.thumbnails = Thumbnails(store.folder / "thumbnails")
        self.decoding = asyncio.Semaphore(_DECODING)
        """Images that are decoded at once."""
        self.runs = Runs(settings.runs_folder, JobQueue(store.folder / "queue.db"))
        self.published = store.folder / "published"
        """The folder whose folders are publications of runs."""
        self.published_trash = Trash(self.published, "publication")
        self.planner = Planner(store.folder / "tasks" / "planner")
        self.recipe_schema: dict[str, Any] | None = None
        """Of the planner, once it was asked."""
        self.tasks = TaskRunner(
            store.tasks,
            store.folder / "tasks",
            may_use_device=lambda: not self.scheduler.is_training,
            give_back=self.engine.give_back,
            on_ended=self._task_ended,
        )
        self._loop = asyncio.get_running_loop()
        self.scheduler = TrainingScheduler(
            self.runs.queue,
            tuple(dict.fromkeys(worker.device for worker in settings.engine.workers)),
            store.folder / "tasks" / "planner",
            is_free=self._frees_device,
        )

    async def _task_ended(self, entry: TaskEntry) -> None:
        """Remove the uploaded archive of an import that has ended."""
        folder = Path(entry.arguments[2]).parent if entry.kind == "import" else None
        if folder is not None and folder.parent == self.store.uploads:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _frees_device(self) -> bool:
        """Give the device's memory to a training, unless an evaluation has it. Called in the scheduler's thread."""
        if self.tasks.uses_device:
            return False
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self.engine.give_back(), self._loop).result(_GIVE_BACK_SECONDS)
        return True

    @property
    def upscalers(self) -> list[str]:
        """Names of upscalers that requests may use."""
        return [str(row["name"]) for row in self.engine.facts()["upscalers"]]


def server_of(request: Request) -> Server:
    """Return the server that a request came to."""
    server: Server = request.app.state.server
    return server


def caller_of(request: Request) -> Caller:
    """Return who sent a request. Only for routes whose rule is not `open`."""
    caller: Caller = request.state.caller
    return caller


def visitor_of(request: Request) -> Visitor:
    """Return which visitor of a share sent a request. Only for routes whose rule is `share`."""
    visitor: Visitor = request.state.visitor
    return visitor
