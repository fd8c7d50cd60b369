"""The page of a share, for visitors without a token: nothing beside these routes is reached with its link."""

from __future__ import annotations

import asyncio
import html
import secrets
import time
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from bakehouse.serve.continue_jobs import run_job
from bakehouse.serve.dialects.page import FOLDER
from bakehouse.serve.dialects.server_sent_events import event_response, event_text
from bakehouse.serve.draw import check_drawing
from bakehouse.serve.errors import ServeError, not_found
from bakehouse.serve.guard.quotas import rate_limit_headers
from bakehouse.serve.guard.rules import Dialect
from bakehouse.serve.server import Server, server_of, visitor_of
from bakehouse.serve.shares.prompts import read_visitor_prompt, share_drawing, subject_of
from bakehouse.serve.shares.templates import SUBJECT, parts_of
from bakehouse.serve.store.draw_jobs import ACTIVE
from bakehouse.serve.store.share_pictures import SharePicture
from bakehouse.serve.store.share_usage import Left, ShareQuotaError, TooManyAtOnceError
from bakehouse.serve.store.shares import ShareSettings
from bakehouse.serve.work.drawing import to_json
from bakehouse.serve.work.served_models import ServedModel

AT_ONCE = 2
"""Unfinished pictures of one address."""
MOST_WAITING = 32
"""Unfinished pictures of one share: the queue of the server has room for others."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors {sites}"
)
_TITLE = "<title>bakehouse</title>"
_PERIODS = {"day": 24 * 3600, "month": 30 * 24 * 3600}
_PRIVATE = {"Cache-Control": "private, no-store"}
_EVENTS = {"queued": ("place",), "started": (), "step": ("progress",), "preview": ("png",)}
"""What visitors learn of a drawing, event by event; warnings name files of the server."""
_TOLD = frozenset({"busy", "stopping"})
"""Errors of the server whose messages hold nothing of it."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WordsBody(_Body):
    """What to draw, in a visitor's words."""

    prompt: str = Field(max_length=10_000)


class ShownBody(_Body):
    """Whether all visitors see a picture."""

    shown: bool


class ReportBody(_Body):
    """Why a picture should not be shown."""

    reason: str = Field("", max_length=200)


def _error(request: Request, error: ServeError) -> Response:
    message, hint = error.message, error.hint
    if error.status >= 500 and error.code not in _TOLD:
        message, hint = "the server could not do this", ""
    return JSONResponse({"error": {"code": error.code, "message": message, "hint": hint}}, error.status)


SHARE = Dialect("share", _error)


@SHARE.route("GET", "/share/{link}", "open")
async def document(request: Request, link: str) -> Response:
    """Return the page, the same for every link but for its title, which previews of links show.

    Which sites may show it in a frame is the share's owner's choice.
    """
    share = await asyncio.to_thread(server_of(request).store.shares.find, link)
    status = 404 if share is None else 410 if share.is_over(time.time()) else 200
    sites: tuple[str, ...] = ()
    text = _document()
    if share is not None and status == 200:
        sites, text = share.settings.embed, text.replace(_TITLE, f"<title>{html.escape(share.title)}</title>")
    headers = {
        "Content-Security-Policy": _POLICY.format(sites=" ".join(sites) or "'none'"),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex",
    }
    return Response(text, status, headers, "text/html; charset=utf-8")


@SHARE.route("GET", "/share/{link}/about", "share")
async def about(request: Request) -> Response:
    """Say what this share draws, and how many pictures remain for this visitor."""
    server, visitor = server_of(request), visitor_of(request)
    settings = visitor.share.settings
    model = server.engine.models.find(settings.model) if settings.model in server.engine.models else None
    subject = "" if model is None else subject_of(settings, model)
    left = await asyncio.to_thread(server.store.share_usage.left, visitor.share, visitor.address)
    body = {
        "title": visitor.share.title,
        "intro": settings.intro,
        "subject": subject,
        "templates": [_filled(parts_of(text), subject) for text in settings.templates],
        "prompt_characters": settings.prompt_characters,
        "width": settings.width or (model.native_size if model else 512),
        "height": settings.height or (model.native_size if model else 512),
        "gallery": settings.gallery,
        "expires": settings.expires,
        "open": model is not None,
        "left": [_left(one) for one in left],
    }
    return JSONResponse(body, headers=_PRIVATE)


@SHARE.route("POST", "/share/{link}/pictures", "share", status_code=202)
async def draw_picture(request: Request, body: WordsBody) -> Response:
    """Accept a picture to draw and answer at once; what was accepted is drawn, also if the server is killed."""
    server, visitor = server_of(request), visitor_of(request)
    share, own = visitor.share, visitor.own
    server.visitors.count(visitor, "draw")
    model = _model(server, share.settings)
    found = read_visitor_prompt(
        body.prompt, share.settings, subject_of(share.settings, model), await _embedding_names(server)
    )
    drawing = check_drawing(request, share_drawing(share.settings, found.text))
    store = server.store
    if await asyncio.to_thread(store.share_pictures.waiting, share.id) >= MOST_WAITING:
        raise ServeError(503, "busy", f"{MOST_WAITING} pictures wait here", hint="try again later", retry_after=15.0)
    try:
        charge = await asyncio.to_thread(
            store.share_usage.reserve, share, visitor.address, model=drawing.model, characters=drawing.characters,
            at_once=AT_ONCE,
        )  # fmt: skip
    except ShareQuotaError as e:
        raise _used_up(e) from e
    except TooManyAtOnceError as e:
        message = f"{AT_ONCE} pictures at once are allowed"
        raise ServeError(429, "too_many_at_once", message, hint="wait for yours", retry_after=5.0) from e
    try:
        job = await asyncio.to_thread(store.jobs.add, secrets.token_hex(12), share.caller, to_json(drawing), charge)
        await asyncio.to_thread(store.share_pictures.add, job.id, share.id, own)
        run_job(server, job, drawing)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(_take_back, server, charge))
        raise
    picture = _found(request, job.id)
    return JSONResponse({**_row(request, picture), "removed": list(found.removed)}, 202, headers=_PRIVATE)


@SHARE.route("GET", "/share/{link}/mine", "share")
async def own_pictures(request: Request) -> Response:
    """List the newest pictures of this browser, also those that wait."""
    visitor = visitor_of(request)
    pictures = server_of(request).store.share_pictures
    found = await asyncio.to_thread(pictures.of_visitor, visitor.share.id, visitor.own)
    return JSONResponse({"pictures": [_row(request, one) for one in found]}, headers=_PRIVATE)


@SHARE.route("GET", "/share/{link}/gallery", "share")
async def gallery(
    request: Request, limit: int = Query(30, ge=1, le=60), before: float | None = Query(None, allow_inf_nan=False)
) -> Response:
    """List the newest pictures that visitors show; `before` is the time `added` of the last one of the page before."""
    visitor = visitor_of(request)
    if not visitor.share.settings.gallery:
        raise _no_gallery()
    pictures = server_of(request).store.share_pictures
    found = await asyncio.to_thread(pictures.gallery, visitor.share.id, limit=limit, before=before)
    return JSONResponse({"pictures": [_row(request, one) for one in found]}, headers=_PRIVATE)


@SHARE.route("GET", "/share/{link}/pictures/{job_id}", "share")
async def get_picture(request: Request, job_id: str) -> Response:
    """Return a picture's file: one of the gallery, or the visitor's own."""
    found = _found(request, job_id)
    if found.picture is None or not (_is_own(request, found) or _is_public(request, found)):
        raise not_found("there is no such picture")
    path = server_of(request).store.pictures.path(found.picture)
    return FileResponse(path, media_type="image/webp", headers={"Cache-Control": "private, max-age=600"})


@SHARE.route("GET", "/share/{link}/pictures/{job_id}/events", "share")
async def picture_events(request: Request, job_id: str) -> Response:
    """Stream how far one's own picture is: queued (with its place), started, step, preview, and ended."""
    return event_response(_events(request, _own(request, job_id)))


@SHARE.route("PUT", "/share/{link}/pictures/{job_id}/shown", "share")
async def show_picture(request: Request, job_id: str, body: ShownBody) -> Response:
    """Show one's own picture to all visitors, or no longer."""
    found = _own(request, job_id)
    if body.shown and not visitor_of(request).share.settings.gallery:
        raise _no_gallery()
    if body.shown and (found.picture is None or found.is_flagged):
        raise ServeError(409, "cannot_be_shown", "this picture cannot be shown")
    await asyncio.to_thread(server_of(request).store.share_pictures.show, found.job, shown=body.shown)
    return JSONResponse(_row(request, _own(request, job_id)), headers=_PRIVATE)


@SHARE.route("POST", "/share/{link}/pictures/{job_id}/report", "share")
async def report_picture(request: Request, job_id: str, body: ReportBody) -> Response:
    """Tell the owner that a picture of the gallery should not be there."""
    server, visitor = server_of(request), visitor_of(request)
    server.visitors.count(visitor, "report")
    found = _found(request, job_id)
    if not _is_public(request, found):
        raise not_found("there is no such picture")
    reason = " ".join(body.reason.split())
    await asyncio.to_thread(server.store.share_pictures.report, found.job, visitor.address, reason)
    return JSONResponse({"reported": found.job}, headers=_PRIVATE)


@SHARE.route("DELETE", "/share/{link}/pictures/{job_id}", "share")
async def remove_picture(request: Request, job_id: str) -> Response:
    """Remove one's own picture: the file, its words, and its place in the queue. What is being drawn is finished."""
    server, found = server_of(request), _own(request, job_id)
    task = server.engine.tasks.get(found.job)
    if found.state in ACTIVE and task is not None and not task.has_ended:
        if task.state == "running":
            raise ServeError(409, "being_drawn", "this picture is being drawn", hint="wait for it", retry_after=2.0)
        task.cancel()
    await _until_ended(request, found.job)
    await asyncio.to_thread(server.store.remove_share_picture, _own(request, job_id))
    return JSONResponse({"removed": found.job}, headers=_PRIVATE)


@cache
def _document() -> str:
    """Return the built document; its files are beside those of the server's own page."""
    return (FOLDER / "share.html").read_text("utf-8").replace('"./', '"../')


def _model(server: Server, settings: ShareSettings) -> ServedModel:
    if settings.model not in server.engine.models:
        raise ServeError(503, "model_away", "the model is not served now", retry_after=600.0)
    return server.engine.models.find(settings.model)


async def _embedding_names(server: Server) -> list[str]:
    if not any(worker.embeddings for worker in server.settings.engine.workers):
        return []
    return [str(name) for name in (await server.engine.prompt_files())["embeddings"]]


def _filled(parts: tuple[dict[str, Any], ...], subject: str) -> list[dict[str, Any]]:
    """Return a template's parts with the share's subject in them."""
    return [{"text": subject} if subject and part.get("name") == SUBJECT else part for part in parts]


def _left(limit: Left) -> dict[str, Any]:
    return {
        "whose": limit.whose, "period": limit.period, "limit": limit.limit, "left": limit.left, "reset": limit.reset,
    }  # fmt: skip


def _used_up(error: ShareQuotaError) -> ServeError:
    limit = error.limit
    headers = rate_limit_headers(
        "pictures", remaining=0, reset=limit.reset, limit=limit.limit, window=_PERIODS[limit.period]
    )
    code = f"{limit.whose}_{limit.period}_used"
    return ServeError(429, code, str(error), retry_after=limit.reset, headers=headers)


def _no_gallery() -> ServeError:
    return ServeError(403, "no_gallery", "this page has no gallery")


def _take_back(server: Server, charge: int) -> None:
    """Undo a picture that could not be queued."""
    server.store.ledger.refund(charge)
    for job in server.store.jobs.unfinished():
        if job.charge == charge:
            server.store.share_pictures.remove(job.id)


def _found(request: Request, job_id: str) -> SharePicture:
    found = server_of(request).store.share_pictures.find(visitor_of(request).share.id, job_id)
    if found is None:
        raise not_found("there is no such picture")
    return found


def _own(request: Request, job_id: str) -> SharePicture:
    """Return a picture of this browser; others do not exist for it."""
    found = _found(request, job_id)
    if not _is_own(request, found):
        raise not_found("there is no such picture")
    return found


def _is_own(request: Request, picture: SharePicture) -> bool:
    return picture.visitor == visitor_of(request).secret


def _is_public(request: Request, picture: SharePicture) -> bool:
    return picture.is_public and visitor_of(request).share.settings.gallery


def _row(request: Request, picture: SharePicture) -> dict[str, Any]:
    server = server_of(request)
    task = server.engine.tasks.get(picture.job)
    job = server.store.jobs.find(picture.job)
    drawing = {} if job is None else job.drawing["request"]
    is_active = task is not None and picture.state in ACTIVE
    return {
        "id": picture.job,
        "state": task.state if task is not None and is_active and task.state in ACTIVE else picture.state,
        "prompt": drawing.get("prompt", ""),
        "width": picture.picture.width if picture.picture else drawing.get("width"),
        "height": picture.picture.height if picture.picture else drawing.get("height"),
        "place": server.engine.place(task) if task is not None and is_active else None,
        "progress": round(task.progress, 4) if task is not None and is_active else float(picture.state == "done"),
        "added": picture.added,
        "shown": picture.shown,
        "hidden": bool(picture.hidden),
        "flagged": picture.is_flagged,
        "mine": _is_own(request, picture),
    }


async def _events(request: Request, picture: SharePicture) -> AsyncIterator[str]:
    server = server_of(request)
    task = server.engine.tasks.get(picture.job)
    if task is not None:
        if task.state == "waiting":
            yield event_text({"place": server.engine.place(task)}, "queued")
        async for event in task.events():
            name = event["event"]
            if name in _EVENTS:
                yield event_text({field: event[field] for field in _EVENTS[name]}, name)
    try:
        await _until_ended(request, picture.job)
        ended = _row(request, _own(request, picture.job))
    except ServeError:  # removed meanwhile, in another window or by the owner
        ended = {"id": picture.job, "state": "canceled"}
    yield event_text(ended, "ended")


async def _until_ended(request: Request, job_id: str) -> None:
    """Wait until a picture whose task has ended is in the store."""
    while _own(request, job_id).state in ACTIVE:
        await asyncio.sleep(0.02)
