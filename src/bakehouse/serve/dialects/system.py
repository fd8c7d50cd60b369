"""Routes that belong to no API: for whoever watches the server."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from bakehouse.serve.errors import ServeError
from bakehouse.serve.guard.rules import Dialect
from bakehouse.serve.server import server_of


def _error(request: Request, error: ServeError) -> Response:
    return JSONResponse({"error": error.text}, error.status)


SYSTEM = Dialect("system", _error)


@SYSTEM.route("GET", "/health", "open")
async def health() -> Response:
    """Answer while the process lives."""
    return JSONResponse({"status": "ok"})


@SYSTEM.route("GET", "/ready", "open")
async def ready(request: Request) -> Response:
    """Answer 200 while drawings are taken, else 503."""
    is_ready = server_of(request).engine.is_ready
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


@SYSTEM.route("GET", "/metrics", "admin")
async def metrics(request: Request) -> Response:
    """Return counters in Prometheus' text format."""
    server = server_of(request)
    engine = server.engine
    text = server.metrics.text(
        waiting=engine.waiting, pictures=engine.drawn, batches=engine.batches, devices=engine.devices()
    )
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")
