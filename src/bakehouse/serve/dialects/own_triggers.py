"""Routes of a dataset's triggers: what they are, what each will learn, and how captions would change."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from bakehouse.serve.datasets.triggers import explain_triggers, write_triggers
from bakehouse.serve.dialects.own_answers import answers
from bakehouse.serve.dialects.own_dataset_answers import TriggersAnswer, TriggersStepAnswer
from bakehouse.serve.dialects.own_datasets import Body, step_row
from bakehouse.serve.dialects.own_dialect import OWN
from bakehouse.serve.server import server_of
from bakehouse.serve.tasks.task_result import without_paths


class TriggersBody(Body):
    """The triggers of a dataset."""

    triggers: list[dict[str, Any]] = Field(description="As `[[triggers]]` in a recipe; none removes them.")


@OWN.route("GET", "/api/v1/datasets/{name}/triggers", "train", **answers(TriggersAnswer))
async def get_triggers(request: Request, name: str, captions: int = Query(20, ge=0, le=500)) -> Response:
    """Return a dataset's triggers, what each will learn, and the first captions that compiling would change."""
    server = server_of(request)
    folder = server.datasets.folder(name)
    async with server.decoding:
        found = await asyncio.to_thread(explain_triggers, folder, captions)
    return JSONResponse(without_paths(server, found))


@OWN.route("PUT", "/api/v1/datasets/{name}/triggers", "train", **answers(TriggersStepAnswer))
async def put_triggers(request: Request, name: str, body: TriggersBody) -> Response:
    """Declare a dataset's triggers, as one step; captions change when they are compiled."""
    server = server_of(request)
    step = await asyncio.to_thread(write_triggers, server.datasets.folder(name), body.triggers)
    return JSONResponse({"step": None if step is None else step_row(server, step)})
