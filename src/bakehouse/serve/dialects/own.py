"""bakehouse's own API, `/api/v1`: everything that the server can do, described by OpenAPI."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from bakehouse.serve.continue_jobs import run_job
from bakehouse.serve.dialects.own_answers import (
    DeletedAnswer,
    DrawAnswer,
    JobAnswer,
    JobsAnswer,
    MeAnswer,
    ModelsAnswer,
    OptionsAnswer,
    PicturesAnswer,
    UsageAnswer,
    answers,
)
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


@OWN.route("GET", "/api/v1/me", "read", **answers(MeAnswer))
async def me(request: Request) -> Response:
    """Say who the caller is, and what it has used this month."""
    server, caller = server_of(request), caller_of(request)
    used = await asyncio.to_thread(server.store.ledger.used, caller.key)
    body = {"name": caller.name, "scopes": sorted(caller.scopes), "quota": vars(caller.quota), "used": vars(used)}
    return JSONResponse(body)


@OWN.route("GET", "/api/v1/models", "read", **answers(ModelsAnswer))
async def models(request: Request) -> Response:
    """List the served models, whether each is in memory, and how much of each device's memory models take."""
    server = server_of(request)
    engine, served_runs = server.engine, server.store.served_runs.all()
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
            "run": served_runs[model.name].run if model.name in served_runs else None,
            "base": Path(str(model.facts.get("base", ""))).name if model.adapters else None,
            "bytes": model.bytes,
        }
        for model in engine.models
    ]
    memory = [{name: one[name] for name in ("device", "bytes", "budget")} for one in engine.devices()]
    return JSONResponse({"models": rows, "memory": memory})


@OWN.route("GET", "/api/v1/options", "read", **answers(OptionsAnswer))
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


@OWN.route("POST", "/api/v1/draw", "draw", **answers(DrawAnswer))
async def draw_now(request: Request, body: DrawBody) -> Response:
    """Draw pictures and wait for them. With `Accept: image/...` the first picture alone is the answer."""
    drawing = await _drawing(request, body)
    pictures = await draw(request, drawing, OWN.name)
    if request.headers.get("accept", "").startswith("image/"):
        first = pictures[0]
        return Response(first.data, media_type=first.format.media_type, headers={"x-seed": str(first.seed)})
    model = drawing.model
    # Megabytes become text: beside the event loop.
    return await asyncio.to_thread(
        lambda: JSONResponse({"model": model, "pictures": [_picture(one) for one in pictures]})
    )


@OWN.route("POST", "/api/v1/jobs", "draw", **answers(JobAnswer, 202))
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


@OWN.route("GET", "/api/v1/jobs", "read", **answers(JobsAnswer))
async def list_jobs(request: Request, limit: int = Query(50, ge=1, le=500)) -> Response:
    """List the caller's newest jobs."""
    store, sees = server_of(request).store, caller_of(request).sees

    def read() -> list[tuple[DrawJob, list[StoredPicture]]]:
        return [(job, store.pictures.of_job(job.id)) for job in store.jobs.newest(sees, limit)]

    # What is read is read beside the event loop; what the engine knows of a job belongs to it.
    return JSONResponse({"jobs": [_job(request, job, pictures) for job, pictures in await asyncio.to_thread(read)]})


@OWN.route("GET", "/api/v1/jobs/{job_id}", "read", **answers(JobAnswer))
async def get_job(request: Request, job_id: str) -> Response:
    """Return a job: its state, its place in the queue, and its finished pictures."""
    return JSONResponse(_job(request, _own_job(request, job_id)))


@OWN.route("DELETE", "/api/v1/jobs/{job_id}", "draw", **answers(JobAnswer))
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


@OWN.route("GET", "/api/v1/pictures", "read", **answers(PicturesAnswer))
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


@OWN.route("DELETE", "/api/v1/pictures/{picture_id}", "draw", **answers(DeletedAnswer))
async def delete_picture(request: Request, picture_id: str) -> Response:
    """Delete a picture."""
    found = own_picture(request, picture_id)
    await asyncio.to_thread(server_of(request).store.pictures.remove, found)
    return JSONResponse({"deleted": found.id})


@OWN.route("GET", "/api/v1/usage", "read", **answers(UsageAnswer))
async def usage(request: Request, month: str | None = None) -> Response:
    """List what the caller has used; an administrator sees everybody's. `month` is like 2026-11."""
    ledger, sees = server_of(request).store.ledger, caller_of(request).sees
    # A month may have many rows: they are read, and written as JSON, beside the event loop.
    return await asyncio.to_thread(lambda: JSONResponse({"usage": ledger.rows(sees, month=month)}))


@OWN.route("GET", "/api/v1/usage.csv", "read", **SHOWN)
async def usage_as_csv(request: Request, month: str | None = None) -> Response:
    """Return the same as CSV."""
    ledger, sees = server_of(request).store.ledger, caller_of(request).sees
    text = await asyncio.to_thread(lambda: usage_csv(ledger.rows(sees, month=month)))
    return Response(text, media_type="text/csv; charset=utf-8")


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


def _job(request: Request, job: DrawJob, pictures: Sequence[StoredPicture] | None = None) -> dict[str, Any]:
    server = server_of(request)
    pictures = server.store.pictures.of_job(job.id) if pictures is None else pictures
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
        "pictures": [_stored(picture) for picture in pictures],
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
