"""Routes of tokens: a browser's session, and the administration of all tokens."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from bakehouse.serve.dialects.own_answers import (
    EmptyAnswer,
    NewTokenAnswer,
    SessionAnswer,
    TokenAnswer,
    TokensAnswer,
    answers,
)
from bakehouse.serve.dialects.own_datasets import Body
from bakehouse.serve.dialects.own_dialect import OWN
from bakehouse.serve.guard.callers import COOKIE
from bakehouse.serve.server import server_of
from bakehouse.serve.store.tokens import Quota, Token, parse_scopes

_YEAR = 365 * 24 * 3600


class SessionBody(Body):
    """A token to keep in the browser."""

    token: str = Field(max_length=200)


class QuotaBody(Body):
    """Limits of a token; null: none."""

    characters_per_month: int | None = None
    pictures_per_month: int | None = None
    requests_per_minute: int | None = None
    concurrent: int | None = None


class TokenBody(Body):
    """A new token."""

    name: str = Field(max_length=100)
    scopes: list[str] = Field(default_factory=lambda: ["draw"])
    quota: QuotaBody = Field(default_factory=QuotaBody)


@OWN.route("POST", "/api/v1/session", "open", **answers(SessionAnswer))
async def open_session(request: Request, body: SessionBody) -> Response:
    """Keep a token in a cookie, for pages of this server: images and event streams cannot send a header."""
    address = request.client.host if request.client else "unknown"
    caller = server_of(request).gate.caller(f"Bearer {body.token}", address)
    answer = JSONResponse({"name": caller.name, "scopes": sorted(caller.scopes)})
    is_secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, body.token, max_age=_YEAR, httponly=True, samesite="strict", secure=is_secure)
    return answer


@OWN.route("DELETE", "/api/v1/session", "open", **answers(EmptyAnswer))
async def close_session(request: Request) -> Response:
    """Forget the cookie."""
    answer = JSONResponse({})
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@OWN.route("GET", "/api/v1/tokens", "admin", **answers(TokensAnswer))
async def list_tokens(request: Request) -> Response:
    """List all tokens; their texts are not known."""
    store = server_of(request).store

    def rows() -> list[dict[str, object]]:
        return [{**_row(token), "used": vars(store.ledger.used(token.caller))} for token in store.tokens.all()]

    return JSONResponse({"tokens": await asyncio.to_thread(rows)})


@OWN.route("POST", "/api/v1/tokens", "admin", **answers(NewTokenAnswer, 201))
async def add_token(request: Request, body: TokenBody) -> Response:
    """Make a token. Its text is in this answer alone."""
    quota, scopes = Quota(**body.quota.model_dump()), parse_scopes(body.scopes)
    token, text = await asyncio.to_thread(server_of(request).store.tokens.add, body.name, scopes, quota)
    return JSONResponse({**_row(token), "token": text}, 201)


@OWN.route("DELETE", "/api/v1/tokens/{name}", "admin", **answers(TokenAnswer))
async def revoke_token(request: Request, name: str) -> Response:
    """Revoke a token at once; its usage is kept."""
    return JSONResponse(_row(await asyncio.to_thread(server_of(request).store.tokens.revoke, name)))


def _row(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "scopes": sorted(token.scopes),
        "quota": vars(token.quota),
        "created": token.created,
        "revoked": token.revoked,
    }
