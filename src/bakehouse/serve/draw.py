"""From a translated request to its pictures: checked, charged, drawn, given up when the caller leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import Request

from bakehouse.serve.guard.quotas import Charge
from bakehouse.serve.server import caller_of, server_of
from bakehouse.serve.work.draw_task import DrawTask
from bakehouse.serve.work.drawing import Drawing, Picture


def check_drawing(request: Request, drawing: Drawing) -> Drawing:
    """Return a drawing with its seeds decided.

    Raises:
        ServeError: no such model (404), or beyond a limit of the server (400).
    """
    server = server_of(request)
    model = server.engine.models.find(drawing.model)
    server.settings.limits.check(drawing.request, native_size=model.native_size, upscalers=server.upscalers)
    facts: dict[str, object] = {"model": drawing.model, "pictures": drawing.request.count}
    if server.settings.log_prompts:
        facts["prompt"] = drawing.request.prompt
    request.state.log = facts
    return drawing.seeded()


@contextlib.asynccontextmanager
async def charged_task(request: Request, drawing: Drawing, dialect: str) -> AsyncIterator[tuple[DrawTask, Charge]]:
    """A task that is being drawn inside a `with` block. Leaving the block early cancels it, and refunds it.

    Raises:
        ServeError: see `check_drawing`, `Quotas.charge` and `Engine.submit`.
    """
    server, caller = server_of(request), caller_of(request)
    drawing = check_drawing(request, drawing)
    async with server.quotas.charge(caller, drawing, dialect) as charge:
        task = server.engine.submit(drawing, caller.key)
        try:
            yield task, charge
            charge.pictures, charge.seconds = len(task.pictures), task.seconds
        finally:
            task.cancel()
    request.state.answer_headers = await server.quotas.headers(caller)


async def draw(request: Request, drawing: Drawing, dialect: str) -> list[Picture]:
    """Return a request's pictures in order. The connection is held while they wait; a caller who leaves cancels them.

    Raises:
        ServeError: refused, failed, or canceled.
    """
    async with charged_task(request, drawing, dialect) as (task, _):
        pictures = await wait_or_leave(request, task)
    if flagged := sum(picture.flagged for picture in pictures):
        request.state.answer_headers["X-Flagged-Pictures"] = str(flagged)
    return pictures


async def wait_or_leave(request: Request, task: DrawTask) -> list[Picture]:
    """Return a task's pictures, or cancel it as soon as the connection is closed.

    Raises:
        ServeError: the task's error.
    """
    leaving = asyncio.ensure_future(_left(request))
    done = asyncio.ensure_future(task.wait())
    try:
        await asyncio.wait({leaving, done}, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            task.cancel()
        return await done
    finally:
        leaving.cancel()
        done.cancel()


async def _left(request: Request) -> None:
    """Return when the caller has closed the connection; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
