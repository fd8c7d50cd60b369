"""The rule of each route: who may use it. A server with a route that has none does not start."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.folder_lock import InUseError
from bakehouse.serve.errors import ServeError
from bakehouse.serve.guard.callers import COOKIE
from bakehouse.serve.guard.visitors import VISITOR_HEADER
from bakehouse.serve.store.tokens import Scope

log = logging.getLogger("bakehouse.serve")

Access = Literal["open", "share", "read", "draw", "train", "admin"]
"""Who may use a route: everybody, whoever has the link of a share, or callers with a scope."""
COUNTED: frozenset[Access] = frozenset({"draw", "train"})
"""What counts as a request in `requests_per_minute`."""

AnswerError = Callable[[Request, ServeError], Response]


class Rule:
    """A route's dependency that lets in who may use it."""

    def __init__(self, access: Access) -> None:
        self.access: Access = access

    async def __call__(self, request: Request) -> None:
        server = request.app.state.server
        if self.access == "open":
            return
        address = request.client.host if request.client else "unknown"
        if self.access == "share":
            secret = request.headers.get(VISITOR_HEADER)
            visitor = server.visitors.visitor(request.path_params["link"], address, secret)
            request.state.visitor, request.state.caller = visitor, visitor.caller
            server.visitors.count(visitor, "other")
            return
        caller = server.gate.caller(request.headers.get("authorization"), address, request.cookies.get(COOKIE))
        request.state.caller = caller
        needed: Scope = self.access
        if needed not in caller.scopes:
            raise ServeError(
                403,
                "forbidden",
                f"{caller.name} may not do this: it needs the scope {needed}",
                hint=f"bakehouse tokens add NAME --scope {needed}",
            )
        if self.access in COUNTED:
            server.quotas.count_request(caller)


@dataclass(frozen=True)
class RouteRule:
    """One row of the table of routes."""

    method: str
    path: str
    access: Access
    dialect: str


class Dialect:
    """The routes of one API, whose errors are answered in that API's form.

    Args:
        name: for logs, usage and the table of routes.
        answer_error: makes the answer of an error.
    """

    def __init__(self, name: str, answer_error: AnswerError) -> None:
        self.name = name
        self.router = APIRouter(route_class=_route_class(name, answer_error))

    def route(self, method: str, path: str, access: Access, **options: Any) -> Callable[[Any], Any]:
        """Declare a route and its rule; `options` are FastAPI's."""
        options = {"include_in_schema": False, "response_model": None, **options}
        return self.router.api_route(path, methods=[method], dependencies=[Depends(Rule(access))], **options)


def _route_class(name: str, answer_error: AnswerError) -> type[APIRoute]:
    class DialectRoute(APIRoute):
        """A route that answers errors in its dialect."""

        dialect = name

        def get_route_handler(self) -> Callable[[Request], Any]:
            handle = super().get_route_handler()

            async def handle_errors(request: Request) -> Response:
                request.state.dialect = name
                request.state.uploaded = []
                try:
                    response: Response = await handle(request)
                except Exception as e:
                    error = as_serve_error(e)
                    response = answer_error(request, error)
                    response.headers.update(error.all_headers())
                finally:
                    for file in request.state.uploaded:
                        file.unlink(missing_ok=True)
                response.headers.update(getattr(request.state, "answer_headers", {}))
                return response

            return handle_errors

    return DialectRoute


def as_serve_error(e: Exception) -> ServeError:
    """Return any exception as what the caller is told. What is unexpected is logged, and told without details."""
    if isinstance(e, ServeError):
        return e
    if isinstance(e, UsageError):
        return ServeError(400, "invalid_request", e.message, hint=e.hint)
    if isinstance(e, InUseError):
        return ServeError(409, "busy", "something else works on this now", hint="try again", retry_after=5.0)
    if isinstance(e, BakehouseError):
        return ServeError(500, "failed", e.message, hint=e.hint)
    if isinstance(e, RequestValidationError):
        return ServeError(422, "invalid_request", "; ".join(_explained(error) for error in e.errors()))
    if isinstance(e, ClientDisconnect):  # also what `HttpChecks` makes of a body that goes on beyond the limit
        return ServeError(413, "too_large", "the request's body ended early, or is larger than is allowed")
    if isinstance(e, HTTPException):
        return ServeError(e.status_code, "invalid_request", str(e.detail))
    log.error("unexpected error", exc_info=e)
    return ServeError(500, "internal_error", "the server failed; its log says more")


def _explained(error: Any) -> str:
    """One error of pydantic as text. What was sent is not repeated: it may be an image of megabytes."""
    place = ".".join(str(part) for part in error["loc"] if part != "body")
    return f"{place or 'body'}: {error['msg']}"


def rules_of(app: FastAPI) -> list[RouteRule]:
    """Return the table of routes.

    Raises:
        RuntimeError: a route has no rule, or several.
    """
    return sorted((row for route in app.routes for row in _rows(route)), key=lambda row: (row.path, row.method))


def _rows(route: BaseRoute) -> Iterator[RouteRule]:
    path = getattr(route, "path", str(route))
    if not isinstance(route, APIRoute):
        raise RuntimeError(f"{path} is not a route of a dialect, so it has no rule: declare it with Dialect.route")
    rules = [d.dependency for d in route.dependencies if isinstance(d.dependency, Rule)]
    if len(rules) != 1:
        raise RuntimeError(f"{path} has {len(rules)} rules; each route has one: declare it with Dialect.route")
    for method in sorted(route.methods or ()):
        yield RouteRule(method, path, rules[0].access, getattr(route, "dialect", ""))
