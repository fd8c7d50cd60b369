"""Routes of tasks: what a request has started that takes more than a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse

from bakehouse.serve.dialects.own_answers import TaskAnswer, TasksAnswer, answers
from bakehouse.serve.dialects.own_dialect import OWN, SHOWN
from bakehouse.serve.dialects.server_sent_events import event_response, event_text
from bakehouse.serve.errors import not_found
from bakehouse.serve.server import caller_of, server_of
from bakehouse.serve.store.task_entries import TaskEntry
from bakehouse.serve.tasks.task_result import shown_command, shown_result, shown_text

MOST_WAIT = 60.0
_POLL_SECONDS = 0.2


@OWN.route("GET", "/api/v1/tasks", "train", **answers(TasksAnswer))
async def list_tasks(
    request: Request, subject: str | None = None, kind: str | None = None, limit: int = Query(50, ge=1, le=500)
) -> Response:
    """List the newest tasks, without their results."""
    found = server_of(request).store.tasks.newest(subject=subject, kind=kind, limit=limit)
    return JSONResponse({"tasks": [task_row(request, entry) for entry in found]})


@OWN.route("GET", "/api/v1/tasks/{task_id}", "train", **answers(TaskAnswer))
async def get_task(request: Request, task_id: str) -> Response:
    """Return a task: its state, progress, and its result when it is done."""
    return JSONResponse(await _full(request, find_task(request, task_id)))


@OWN.route("DELETE", "/api/v1/tasks/{task_id}", "train", **answers(TaskAnswer))
async def cancel_task(request: Request, task_id: str) -> Response:
    """Stop a task. What it has written as a whole step stays, and can be undone."""
    await server_of(request).tasks.cancel(find_task(request, task_id))
    return JSONResponse(await _full(request, find_task(request, task_id)))


@OWN.route("GET", "/api/v1/tasks/{task_id}/events", "train", **SHOWN)
async def task_events(request: Request, task_id: str) -> Response:
    """Stream a task's events: progress, and done, failed or canceled with the task."""
    return event_response(_events(request, find_task(request, task_id)))


async def start_task(
    request: Request, kind: str, subject: str, arguments: tuple[str, ...], wait: float = 0.0
) -> Response:
    """Queue a command and answer with its task: 202, or 200 if it has ended within `wait` seconds."""
    tasks = server_of(request).tasks
    entry = await tasks.add(kind, subject, arguments, caller_of(request).key)
    if wait:
        entry = await tasks.wait(entry.id, wait) or entry
    status = 200 if entry.has_ended else 202
    return JSONResponse(await _full(request, entry), status, headers={"Location": f"/api/v1/tasks/{entry.id}"})


def find_task(request: Request, task_id: str) -> TaskEntry:
    """Return a task; those of all callers are seen, since they share datasets and runs.

    Raises:
        ServeError: there is none (404).
    """
    entry = server_of(request).store.tasks.find(task_id)
    if entry is None:
        raise not_found(f"there is no task {task_id[:80]!r}")
    return entry


def task_row(request: Request, entry: TaskEntry) -> dict[str, Any]:
    """Return a task without its result."""
    server = server_of(request)
    return {
        "id": entry.id,
        "kind": entry.kind,
        "subject": entry.subject,
        "title": " ".join(word for word in entry.arguments[:2] if not word.startswith("/")),
        "command": shown_command(server, entry),
        "state": entry.state,
        "progress": server.tasks.progress(entry),
        "place": server.tasks.place(entry),
        "error": shown_text(server, entry.error),
        "added": entry.added,
        "ended": entry.ended,
    }


async def _full(request: Request, entry: TaskEntry) -> dict[str, Any]:
    result = await asyncio.to_thread(shown_result, server_of(request), entry)
    return {**task_row(request, entry), "result": result}


async def _events(request: Request, entry: TaskEntry) -> AsyncIterator[str]:
    before: object = None
    while not entry.has_ended:
        row = task_row(request, entry)
        now = {name: row[name] for name in ("state", "progress", "place")}
        if now != before:
            yield event_text({"event": "progress", **now}, "progress")
            before = now
        await asyncio.sleep(_POLL_SECONDS)
        entry = find_task(request, entry.id)
    yield event_text({"event": entry.state, "task": await _full(request, entry)}, entry.state)
