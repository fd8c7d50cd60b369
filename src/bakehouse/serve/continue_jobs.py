"""Jobs that were accepted, drawn to their end: those of this server, and those that a killed one has left."""

from __future__ import annotations

import asyncio
import logging

from bakehouse.serve.errors import ServeError
from bakehouse.serve.server import Server
from bakehouse.serve.store.draw_jobs import DrawJob, DrawJobState
from bakehouse.serve.work.draw_task import DrawTask
from bakehouse.serve.work.drawing import Drawing, Picture, from_json
from bakehouse.serve.work.served_models import ModelToServe

log = logging.getLogger("bakehouse.serve")

_FOLLOWING: set[asyncio.Task[None]] = set()
"""Tasks that follow jobs: asyncio itself keeps only weak references."""


def continue_jobs(server: Server) -> list[Drawing]:
    """Queue the jobs that a killed server has left, without the pictures they have; returns what they draw."""
    drawings = []
    for job in server.store.jobs.unfinished():
        try:
            drawing = from_json(job.drawing)
            run_job(server, job, drawing, was_accepted=True)
        except ServeError as e:  # its model is not served any more
            server.store.jobs.set_state(job.id, "failed", e.text)
            if job.charge is not None:
                server.store.ledger.refund(job.charge)
            continue
        drawings.append(drawing)
    return drawings


async def serve_runs_again(server: Server) -> None:
    """Offer the runs again that an earlier server has offered as models. One that is not there any more is logged."""
    for one in server.store.served_runs.all().values():
        folder = server.runs.root / one.run
        ref = folder / "weights" / one.weights if one.weights else folder
        try:
            await server.engine.add_model(ModelToServe(one.name, str(ref.resolve())))
        except ServeError as e:
            log.warning("a run cannot be served", extra={"run": one.run, "error": e.message})


def imported_files(server: Server) -> list[str]:
    """Return the uploaded archives that tasks have still to import."""
    return [entry.arguments[2] for entry in server.store.tasks.unfinished() if entry.kind == "import"]


def run_job(server: Server, job: DrawJob, drawing: Drawing, *, was_accepted: bool = False) -> DrawTask:
    """Draw a job that is in the store; what it makes is saved picture by picture.

    Raises:
        ServeError: the queue is full, or its model is not served.
    """
    finished = frozenset(picture.number for picture in server.store.pictures.of_job(job.id))
    task = server.engine.submit(drawing, job.caller, task_id=job.id, finished=finished, was_accepted=was_accepted)
    following = asyncio.ensure_future(_follow(server, job, task))
    _FOLLOWING.add(following)
    following.add_done_callback(_FOLLOWING.discard)
    return task


async def _follow(server: Server, job: DrawJob, task: DrawTask) -> None:
    state: DrawJobState
    saving: list[asyncio.Future[None]] = []
    task.on_picture = lambda picture: saving.append(asyncio.ensure_future(_save(server, job, task, picture)))
    try:
        await task.wait()
        await asyncio.gather(*saving)
        state, error = "done", ""
    except ServeError as e:
        await asyncio.gather(*saving, return_exceptions=True)
        if e.code == "stopping":
            return  # it goes on with the next server
        state, error = "canceled" if e.code == "canceled" else "failed", e.text
    await asyncio.to_thread(_end, server, job, task, state, error)
    for file in task.drawing.files:
        file.unlink(missing_ok=True)


async def _save(server: Server, job: DrawJob, task: DrawTask, picture: Picture) -> None:
    await asyncio.to_thread(
        server.store.pictures.add,
        picture.data,
        picture.format.kind,
        caller=job.caller,
        job=job.id,
        number=picture.number,
        model=task.drawing.model,
        prompt=task.drawing.request.prompt,
        seed=picture.seed,
        size=(picture.width, picture.height),
        infotext=picture.infotext,
    )


def _end(server: Server, job: DrawJob, task: DrawTask, state: DrawJobState, error: str) -> None:
    if job.charge is not None:
        _settle(server, job, job.charge, task)
    server.store.jobs.set_state(job.id, state, error)  # last: a server killed before goes on, and ends it again


def _settle(server: Server, job: DrawJob, charge: int, task: DrawTask) -> None:
    made = len(server.store.pictures.of_job(job.id))
    if made:
        server.store.ledger.settle(charge, pictures=made, seconds=task.seconds)
    else:
        server.store.ledger.refund(charge)
