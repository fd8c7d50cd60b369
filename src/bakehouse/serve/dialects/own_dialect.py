"""The dialect of bakehouse's own API, whose routes are in several files, and its form of errors."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from bakehouse.serve.errors import ServeError
from bakehouse.serve.guard.rules import Dialect
from bakehouse.serve.server import server_of
from bakehouse.serve.tasks.task_result import shown_text, without_paths


def error_body(error: ServeError) -> dict[str, Any]:
    """Return an error as this API answers it."""
    several = {"problems": error.problems} if error.problems else {}
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint, **several}}


def _error(request: Request, error: ServeError) -> Response:
    server = server_of(request)
    error.message, error.hint = shown_text(server, error.message), shown_text(server, error.hint)
    error.problems = without_paths(server, error.problems)
    return JSONResponse(error_body(error), error.status)


OWN = Dialect("own", _error)
SHOWN = {"include_in_schema": True}
"""Options of the routes that OpenAPI describes."""
