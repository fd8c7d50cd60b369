"""Routes of shares for their owner: made, changed and revoked, and what visitors have drawn."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from bakehouse.core.errors import UsageError
from bakehouse.serve.dialects.own_answers import DeletedAnswer, answers
from bakehouse.serve.dialects.own_datasets import Body
from bakehouse.serve.dialects.own_dialect import OWN
from bakehouse.serve.dialects.own_sharing_answers import (
    ShareAnswer,
    SharePictureAnswer,
    SharePicturesAnswer,
    SharesAnswer,
)
from bakehouse.serve.errors import not_found
from bakehouse.serve.server import Server, server_of
from bakehouse.serve.shares.prompts import share_drawing
from bakehouse.serve.shares.templates import library_templates_of
from bakehouse.serve.store.share_pictures import SharePicture
from bakehouse.serve.store.shares import Share, ShareSettings

_DEFAULT = ShareSettings(model="crumb")


class ShareFields(Body):
    """What a share offers, to whom, and how much of it; null: no limit, or as the model likes it."""

    title: str = Field("", description="Headline of the page; empty: the share's name.")
    intro: str = ""
    subject: str | None = Field(None, description="Words that each prompt has. Default: the model's triggers.")
    negative: str = ""
    sets: list[str] = Field(
        default_factory=list, description="Templates of the library: `portraits`, or `portraits:3`.", max_length=50
    )
    templates: list[str] = Field(
        default_factory=list, description="More templates, with slots {color} and choices {red|blue}.", max_length=50
    )
    width: int | None = None
    height: int | None = None
    steps: int = _DEFAULT.steps
    guidance: float | None = None
    prompt_characters: int = _DEFAULT.prompt_characters
    day: int | None = Field(_DEFAULT.day, description="Pictures a day in UTC for all visitors together.")
    month: int | None = None
    address_day: int | None = Field(_DEFAULT.address_day, description="Pictures a day for each address.")
    address_month: int | None = None
    gallery: bool = True
    embed: list[str] = Field(
        default_factory=list, description="Sites that may show it in a frame: origins, or *.", max_length=50
    )
    days: float | None = Field(None, gt=0, le=36_500, description="Days after which it ends.")


class ShareBody(ShareFields):
    """A new share."""

    name: str
    model: str | None = Field(None, description="Name of a served model. Default: the first.")


class ChangeBody(ShareFields):
    """Other settings of a share; what is left out stays as it is."""

    model: str | None = None


class HiddenBody(Body):
    """Whether visitors do not see a picture."""

    hidden: bool


@OWN.route("GET", "/api/v1/shares", "admin", **answers(SharesAnswer))
async def list_shares(request: Request) -> Response:
    """List all shares with their links and what was drawn."""
    server = server_of(request)
    rows = await asyncio.to_thread(lambda: [_row(server, share) for share in server.store.shares.all()])
    return JSONResponse({"shares": rows})


@OWN.route("POST", "/api/v1/shares", "admin", **answers(ShareAnswer, 201))
async def add_share(request: Request, body: ShareBody) -> Response:
    """Make a share: whoever has its link draws with one model, within its limits, and can do nothing else."""
    server = server_of(request)
    settings = ShareSettings(model=server.engine.models.find(body.model).name, **_values(body))
    _check(server, settings)
    share = await asyncio.to_thread(server.store.shares.add, body.name, settings)
    return JSONResponse(_row(server, share), 201)


@OWN.route("GET", "/api/v1/shares/{name}", "admin", **answers(ShareAnswer))
async def get_share(request: Request, name: str) -> Response:
    """Return a share."""
    server = server_of(request)
    return JSONResponse(_row(server, _named(server, name)))


@OWN.route("PATCH", "/api/v1/shares/{name}", "admin", **answers(ShareAnswer))
async def change_share(request: Request, name: str, body: ChangeBody) -> Response:
    """Change some settings of a share; its link stays."""
    server = server_of(request)
    before = _named(server, name).settings
    given = body.model_fields_set
    new = {**_values(body), "model": body.model or before.model}
    kept = {"days": "expires", "sets": "templates"}
    changed = {kept.get(field, field) for field in given}
    settings = ShareSettings(**{**vars(before), **{field: new[field] for field in changed}})
    if body.model or before.model in server.engine.models:  # a model that is away may come back
        _check(server, settings)
    share = await asyncio.to_thread(server.store.shares.change, name, settings)
    return JSONResponse(_row(server, share))


@OWN.route("DELETE", "/api/v1/shares/{name}", "admin", **answers(ShareAnswer))
async def revoke_share(request: Request, name: str) -> Response:
    """Revoke a share at once; usage and pictures are kept."""
    server = server_of(request)
    _named(server, name)
    return JSONResponse(_row(server, await asyncio.to_thread(server.store.shares.revoke, name)))


@OWN.route("GET", "/api/v1/shares/{name}/pictures", "admin", **answers(SharePicturesAnswer))
async def list_share_pictures(
    request: Request,
    name: str,
    only: Literal["all", "shown", "reported"] = "all",
    limit: int = Query(60, ge=1, le=200),
    before: float | None = Query(None, allow_inf_nan=False),
) -> Response:
    """List the newest pictures of a share; `before` is the time `added` of the last one of the page before."""
    server = server_of(request)
    share = _named(server, name)

    def read() -> list[dict[str, Any]]:
        pictures = server.store.share_pictures
        found = pictures.for_owner(share.id, limit=limit, before=before, only=only)
        return [_picture(server, one) for one in found]

    return JSONResponse({"pictures": await asyncio.to_thread(read)})


@OWN.route("PUT", "/api/v1/shares/{name}/pictures/{job_id}/hidden", "admin", **answers(SharePictureAnswer))
async def hide_share_picture(request: Request, name: str, job_id: str, body: HiddenBody) -> Response:
    """Hide a picture from visitors, or let it stay whoever reports it."""
    server = server_of(request)
    found = _share_picture(server, name, job_id)
    await asyncio.to_thread(server.store.share_pictures.hide, found.job, hidden=body.hidden)
    return JSONResponse(_picture(server, _share_picture(server, name, job_id)))


@OWN.route("DELETE", "/api/v1/shares/{name}/pictures/{job_id}", "admin", **answers(DeletedAnswer))
async def delete_share_picture(request: Request, name: str, job_id: str) -> Response:
    """Delete a picture of a visitor for good."""
    server = server_of(request)
    found = _share_picture(server, name, job_id)
    await asyncio.to_thread(server.store.remove_share_picture, found)
    return JSONResponse({"deleted": found.job})


def _values(body: ShareFields) -> dict[str, Any]:
    values = body.model_dump(exclude={"name", "model", "days", "sets"})
    return {
        **values,
        "templates": library_templates_of(body.sets, body.templates),
        "embed": tuple(site.strip().rstrip("/").lower() for site in body.embed),
        "expires": None if body.days is None else time.time() + 24 * 3600 * body.days,
    }


def _check(server: Server, settings: ShareSettings) -> None:
    """Check that this server can draw what a share offers.

    Raises:
        ServeError: the model is not served (404), or sizes and steps beyond the server's own limits (400).
    """
    native = server.engine.models.find(settings.model).native_size
    server.settings.limits.check(share_drawing(settings, "").request, native_size=native, upscalers=())


def _named(server: Server, name: str) -> Share:
    try:
        return server.store.shares.named(name)
    except UsageError as e:
        raise not_found(e.message, hint=e.hint) from e


def _share_picture(server: Server, name: str, job_id: str) -> SharePicture:
    found = server.store.share_pictures.find(_named(server, name).id, job_id)
    if found is None or found.picture is None:
        raise not_found(f"the share has no picture {job_id[:80]!r}")
    return found


def _row(server: Server, share: Share) -> dict[str, Any]:
    return {
        "name": share.name,
        "path": share.path,
        **share.settings.to_json(),
        "created": share.created,
        "revoked": share.revoked,
        "expired": share.has_expired(time.time()),
        "served": share.settings.model in server.engine.models,
        "drawn": server.store.share_usage.drawn(share),
        "reported": server.store.share_pictures.reported(share.id),
    }


def _picture(server: Server, found: SharePicture) -> dict[str, Any]:
    assert found.picture is not None  # the caller lists finished ones
    return {
        "id": found.job,
        "url": f"/api/v1/pictures/{found.picture.id}",
        "prompt": found.picture.prompt,
        "width": found.picture.width,
        "height": found.picture.height,
        "added": found.added,
        "shown": found.shown,
        "hidden": found.hidden,
        "flagged": found.is_flagged,
        "reports": found.reports,
        "reasons": server.store.share_pictures.reasons(found.job),
    }
