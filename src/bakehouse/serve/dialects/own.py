"""bakehouse's own API, `/api/v1`: everything that the server can do, described by OpenAPI."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from bakehouse.serve.continue_jobs import run_job
from bakehouse.serve.dialects.own_body import DrawBody
from bakehouse.serve.dialects.own_dialect import OWN, SHOWN
from bakehouse.serve.dialects.own_gallery import own_picture
from bakehouse.serve.dialects.saved_images import keep_uploads, save_text
from bakehouse.serve.dialects.server_sent_events import event_response, event_text
from bakehouse.serve.draw import check_drawing, draw
from bakehouse.serve.errors import ServeError, not_found
from bakehouse.serve.server import caller_of, server_of
from bakehouse.serve.store.draw_jobs import ACTIVE, DrawJob
from bakehouse.serve.store.pictures import PictureFilter, StoredPicture
from bakehouse.serve.store.usage import usage_csv
from bakehouse.serve.usage_page import USAGE_PAGE_POLICY, usage_html
from bakehouse.serve.work.drawing import Drawing, Picture, to_json

_ENDS = ("done", "failed", "canceled")


@OWN.route("GET", "/api/v1/openapi.json", "open")
async def openapi(request: Request) -> Response:
    """Describe this API."""
    return JSONResponse(request.app.openapi())


@OWN.route("GET", "/api/v1/me", "read", **SHOWN)
async def me(request: Request) -> Response:
    """Say who the caller is, and what it has used this month."""
    server, caller = server_of(request), caller_of(request)
    used = server.store.ledger.used(caller.key)
    body = {"name": caller.name, "scopes": sorted(caller.scopes), "quota": vars(caller.quota), "used": vars(used)}
    return JSONResponse(body)


@OWN.route("GET", "/api/v1/models", "read", **SHOWN)
async def models(request: Request) -> Response:
    """List the served models and whether they are in memory."""
    engine = server_of(request).engine
    rows = [
        {
            "name": model.name,
            "title": model.facts.get("title", model.name),
            "state": engine.state(model),
            "estimated_time": round(engine.estimated_time(model), 1),
            "native_size": model.native_size,
            "adapters": [
                {"name": one["name"], "strength": one["strength"], "range": model.strength_range(number)}
                for number, one in enumerate(model.adapters)
            ],
            "triggers": model.triggers,
        }
        for model in engine.models
    ]
    return JSONResponse({"models": rows})


@OWN.route("GET", "/api/v1/options", "read", **SHOWN)
async def options(request: Request) -> Response:
    """List samplers, schedules, upscalers, and the limits of a request."""
    server = server_of(request)
    facts = server.engine.facts()
    body = {
        "samplers": [row["name"] for row in facts["samplers"]],
        "schedules": [row["label"] for row in facts["schedules"]],
        "upscalers": server.upscalers,
        "limits": vars(server.settings.limits),
    }
    return JSONResponse(body)


@OWN.route("POST", "/api/v1/draw", "draw", **SHOWN)
async def draw_now(request: Request, body: DrawBody) -> Response:
    """Draw pictures and wait for them. With `Accept: image/...` the first picture alone is the answer."""
    drawing = await _drawing(request, body)
    pictures = await draw(request, drawing, OWN.name)
    if request.headers.get("accept", "").startswith("image/"):
        first = pictures[0]
        return Response(first.data, media_type=first.format.media_type, headers={"x-seed": str(first.seed)})
    return JSONResponse({"model": drawing.model, "pictures": [_picture(one) for one in pictures]})


@OWN.route("POST", "/api/v1/jobs", "draw", status_code=202, **SHOWN)
async def add_job(request: Request, body: DrawBody) -> Response:
    """Accept pictures to draw and answer at once. What was accepted is drawn, also if the server is killed."""
    server, caller = server_of(request), caller_of(request)
    drawing = check_drawing(request, await _drawing(request, body))
    async with server.quotas.charge(caller, drawing, OWN.name) as charge:
        job = await asyncio.to_thread(
            server.store.jobs.add, secrets.token_hex(12), caller.key, to_json(drawing), charge.entry
        )
        try:
            run_job(server, job, drawing)
        except ServeError as e:
            await asyncio.to_thread(server.store.jobs.set_state, job.id, "failed", e.text)
            raise
        charge.outlives_request = True
        keep_uploads(request)
    return JSONResponse(_job(request, job), 202, headers={"Location": f"/api/v1/jobs/{job.id}"})


@OWN.route("GET", "/api/v1/jobs", "read", **SHOWN)
async def list_jobs(request: Request, limit: int = Query(50, ge=1, le=500)) -> Response:
    """List the caller's newest jobs."""
    found = server_of(request).store.jobs.newest(caller_of(request).sees, limit)
    return JSONResponse({"jobs": [_job(request, job) for job in found]})


@OWN.route("GET", "/api/v1/jobs/{job_id}", "read", **SHOWN)
async def get_job(request: Request, job_id: str) -> Response:
    """Return a job: its state, its place in the queue, and its finished pictures."""
    return JSONResponse(_job(request, _own_job(request, job_id)))


@OWN.route("DELETE", "/api/v1/jobs/{job_id}", "draw", **SHOWN)
async def cancel_job(request: Request, job_id: str) -> Response:
    """Cancel a job; pictures that are finished stay."""
    server, job = server_of(request), _own_job(request, job_id)
    task = server.engine.tasks.get(job.id)
    if task is not None:
        task.cancel()
    await _until_ended(request, job.id)
    return JSONResponse(_job(request, _own_job(request, job_id)))


@OWN.route("GET", "/api/v1/jobs/{job_id}/events", "read", **SHOWN)
async def job_events(request: Request, job_id: str) -> Response:
    """Stream a job's events: queued (with its place), started, step, preview, picture, and done, failed or canceled."""
    return event_response(_events(request, _own_job(request, job_id)))


@OWN.route("GET", "/api/v1/pictures", "read", **SHOWN)
async def list_pictures(
    request: Request,
    limit: int = Query(50, ge=1, le=500),
    before: float | None = None,
    q: str = "",
    model: str | None = None,
    starred: bool = False,
) -> Response:
    """List the caller's newest pictures of jobs.

    `before` is the time `made` of the last one of the page before; `q` are words of the prompt, or a seed.
    """
    wanted = PictureFilter(words=tuple(q.split()), model=model, starred=starred)
    pictures = server_of(request).store.pictures
    found = await asyncio.to_thread(pictures.newest, caller_of(request).sees, limit=limit, before=before, wanted=wanted)
    return JSONResponse({"pictures": [_stored(picture) for picture in found]})


@OWN.route("GET", "/api/v1/pictures/{picture_id}", "read", **SHOWN)
async def get_picture(request: Request, picture_id: str) -> Response:
    """Return a picture's file."""
    found = own_picture(request, picture_id)
    return FileResponse(server_of(request).store.pictures.path(found))


@OWN.route("DELETE", "/api/v1/pictures/{picture_id}", "draw", **SHOWN)
async def delete_picture(request: Request, picture_id: str) -> Response:
    """Delete a picture."""
    found = own_picture(request, picture_id)
    await asyncio.to_thread(server_of(request).store.pictures.remove, found)
    return JSONResponse({"deleted": found.id})


@OWN.route("GET", "/api/v1/usage", "read", **SHOWN)
async def usage(request: Request, month: str | None = None) -> Response:
    """List what the caller has used; an administrator sees everybody's. `month` is like 2026-11."""
    rows = server_of(request).store.ledger.rows(caller_of(request).sees, month=month)
    return JSONResponse({"usage": rows})


@OWN.route("GET", "/api/v1/usage.csv", "read", **SHOWN)
async def usage_as_csv(request: Request, month: str | None = None) -> Response:
    """Return the same as CSV."""
    rows = server_of(request).store.ledger.rows(caller_of(request).sees, month=month)
    return Response(usage_csv(rows), media_type="text/csv; charset=utf-8")


@OWN.route("GET", "/api/v1/usage.html", "admin", **SHOWN)
async def usage_page(request: Request, month: str | None = None) -> Response:
    """Return everybody's usage of a month as a page: sums for each token and model, and what quotas leave."""
    store = server_of(request).store
    text = await asyncio.to_thread(usage_html, store, month)
    return HTMLResponse(text, headers={"Content-Security-Policy": USAGE_PAGE_POLICY})


async def _drawing(request: Request, body: DrawBody) -> Drawing:
    default = server_of(request).engine.models.default.name
    return await body.drawing(default, lambda text, name: save_text(request, text, name))


def _picture(picture: Picture) -> dict[str, Any]:
    return {
        "image": base64.b64encode(picture.data).decode(),
        "media_type": picture.format.media_type,
        "seed": picture.seed,
        "width": picture.width,
        "height": picture.height,
        "infotext": picture.infotext,
        "flagged": picture.flagged,
    }


def _own_job(request: Request, job_id: str) -> DrawJob:
    """Return a job of the caller. Somebody else's does not exist for it."""
    job = server_of(request).store.jobs.find(job_id)
    if job is None or caller_of(request).sees not in (None, job.caller):
        raise not_found(f"there is no job {job_id!r}")
    return job


def _job(request: Request, job: DrawJob) -> dict[str, Any]:
    server = server_of(request)
    task = server.engine.tasks.get(job.id)
    is_active = task is not None and job.state in ACTIVE
    return {
        "id": job.id,
        "state": task.state if task is not None and is_active and task.state in ACTIVE else job.state,
        "model": job.drawing["model"],
        "prompt": job.drawing["request"]["prompt"],
        "count": job.drawing["request"].get("count", 1),
        "error": job.error,
        "place": server.engine.place(task) if task is not None and is_active else None,
        "progress": round(task.progress, 4) if task is not None and is_active else float(job.state == "done"),
        "added": job.added,
        "ended": job.ended,
        "pictures": [_stored(picture) for picture in server.store.pictures.of_job(job.id)],
    }


def _stored(picture: StoredPicture) -> dict[str, Any]:
    hidden = ("caller", "file")
    values = {name: value for name, value in vars(picture).items() if name not in hidden}
    return {**values, "url": f"/api/v1/pictures/{picture.id}"}


async def _events(request: Request, job: DrawJob) -> AsyncIterator[str]:
    server = server_of(request)
    task = server.engine.tasks.get(job.id)
    if task is not None:
        if task.state == "waiting":
            yield event_text({"event": "queued", "place": server.engine.place(task)}, "queued")
        async for event in task.events():
            if event["event"] not in _ENDS:
                yield event_text(event, event["event"])
    await _until_ended(request, job.id)
    ended = _job(request, _own_job(request, job.id))
    yield event_text({"event": ended["state"], "job": ended}, ended["state"])


async def _until_ended(request: Request, job_id: str) -> None:
    """Wait until a job whose task has ended is in the store with all its pictures."""
    while _own_job(request, job_id).state in ACTIVE:
        await asyncio.sleep(0.02)
