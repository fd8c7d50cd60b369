"""What callers do with their finished pictures."""

from __future__ import annotations

import asyncio

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from bakehouse.serve.dialects.own_answers import StarAnswer, answers
from bakehouse.serve.dialects.own_dialect import OWN
from bakehouse.serve.errors import not_found
from bakehouse.serve.server import caller_of, server_of
from bakehouse.serve.store.pictures import StoredPicture


class StarBody(BaseModel):
    """Whether a picture is marked."""

    model_config = ConfigDict(extra="forbid")

    starred: bool


@OWN.route("PUT", "/api/v1/pictures/{picture_id}/star", "draw", **answers(StarAnswer))
async def star_picture(request: Request, picture_id: str, body: StarBody) -> Response:
    """Mark a picture, or take the mark away."""
    pictures = server_of(request).store.pictures
    found = await asyncio.to_thread(pictures.star, own_picture(request, picture_id), starred=body.starred)
    return JSONResponse({"id": found.id, "starred": found.starred})


def own_picture(request: Request, picture_id: str) -> StoredPicture:
    """Return a picture of the caller.

    Raises:
        ServeError: it does not exist, or is somebody else's (404).
    """
    found = server_of(request).store.pictures.find(picture_id)
    if found is None or caller_of(request).sees not in (None, found.caller):
        raise not_found(f"there is no picture {picture_id!r}")
    return found
