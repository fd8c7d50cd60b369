"""A worker and the models in its memory."""

from __future__ import annotations

import logging

from bakehouse.serve.work.draw_task import Unit
from bakehouse.serve.work.residency import Residency
from bakehouse.serve.work.served_models import ServedModel
from bakehouse.serve.work.worker_process import WorkerProcess, WorkerSettings

log = logging.getLogger("bakehouse.serve")


class Seat:
    """A worker with its models, and what it draws now."""

    def __init__(self, settings: WorkerSettings, models: dict[str, ServedModel], hashes: dict[str, str]) -> None:
        self.worker = WorkerProcess(settings, on_lost=lambda: self.residency.lost())
        self.residency = Residency(self, budget=0)
        self._models, self._hashes = models, hashes
        self.running: list[Unit] = []
        self.number = 0
        """Of the stream that draws `running`."""

    async def load(self, key: str) -> int:
        model = self._models[key]
        facts = await self.worker.ask("load", ref=model.ref, base=model.base)
        self._hashes[key] = facts["hash"]
        log.info("model loaded", extra={"model": model.name, "bytes": facts["bytes"]})
        return int(facts["bytes"])

    async def unload(self, key: str) -> None:
        await self.worker.ask("unload", key=key)
        log.info("model unloaded", extra={"model": self._models[key].name})

    async def park(self, key: str) -> None:
        await self.worker.ask("park", key=key)

    async def unpark(self, key: str) -> None:
        await self.worker.ask("unpark", key=key)
