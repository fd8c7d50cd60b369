"""The application: the parts of a server, the dialects, and what happens at its start and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from bakehouse import __version__
from bakehouse.core.errors import UsageError
from bakehouse.serve.continue_jobs import continue_jobs, imported_files, serve_runs_again
from bakehouse.serve.dialects import DIALECTS
from bakehouse.serve.guard.http_checks import HttpChecks
from bakehouse.serve.guard.rules import rules_of
from bakehouse.serve.logs import RequestLog
from bakehouse.serve.server import Server
from bakehouse.serve.settings import ServeSettings
from bakehouse.serve.store.store import Store
from bakehouse.serve.work.served_models import check_names

log = logging.getLogger("bakehouse.serve")


def make_app(
    settings: ServeSettings,
    *,
    session_token: str | None = None,
) -> FastAPI:
    """Return the application. Workers are started with it, and models are loaded when they are asked for.

    Args:
        settings: how it is to work.
        session_token: a token for this session of the server, which may do everything.

    Raises:
        UsageError: two models have one name, no model is given, or the address needs a token.
        BakehouseError: the database cannot be opened.
    """
    models = check_names(settings.models)
    if not models:
        raise UsageError("no model is to be served", hint="bakehouse serve crumb")
    store = Store(settings.folder)
    try:
        check_address(settings, store)
    except UsageError:
        store.close()
        raise
    app = FastAPI(
        title="bakehouse", version=__version__, docs_url=None, redoc_url=None, openapi_url=None,
        lifespan=lambda app: _running(app, settings, store, session_token),
    )  # fmt: skip
    for dialect in DIALECTS:
        app.router.routes.extend(dialect.router.routes)  # flat, so that each is seen by `rules_of`
    app.state.store = store  # closed when the application ends; by the caller, if it is never started
    rules_of(app)  # a route without a rule ends the start here
    app.add_exception_handler(HTTPException, _unknown_route)
    return app


def with_middleware(app: FastAPI, settings: ServeSettings) -> ASGIApp:
    """Return what a web server runs: the application behind its checks and its log."""
    checked = HttpChecks(
        app,
        hosts=(settings.host, *settings.allowed_hosts),
        origins=settings.allowed_origins,
        body_bytes=settings.limits.body_bytes,
        upload_bytes=settings.limits.dataset_upload_bytes,
        notes=settings.picture_notes,
    )
    return RequestLog(checked, lambda: app.state.server.metrics)


def check_address(settings: ServeSettings, store: Store) -> None:
    """Check that an address that others can reach has a token.

    Raises:
        UsageError: it has none.
    """
    if not settings.is_loopback and not store.tokens.valid():
        raise UsageError(
            f"host = {settings.host}: other machines could reach this server, and it has no token",
            hint="make one first: bakehouse tokens add NAME",
        )


@contextlib.asynccontextmanager
async def _running(
    app: FastAPI, settings: ServeSettings, store: Store, session_token: str | None
) -> AsyncIterator[None]:
    server = Server(settings, store, session_token=session_token)
    app.state.server = server
    try:
        await server.engine.start(check_names(settings.models))
        await serve_runs_again(server)
        kept = {file for job in continue_jobs(server) for file in job.files}
        server.uploads.remove_except(kept | {Path(file) for file in imported_files(server)})
        store.ledger.refund_unfinished()
        server.tasks.start()
        server.scheduler.start()
        log.info("ready", extra={"models": [model.name for model in server.engine.models]})
        yield
    finally:
        await asyncio.gather(
            server.engine.stop(grace=settings.grace),
            server.scheduler.stop(),
            server.tasks.stop(),
            server.planner.stop(),
        )
        store.close()


async def _unknown_route(request: Request, error: Exception) -> Response:
    """Answer what no route answers, in the form that most clients read."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = "there is no such address here" if status == 404 else str(getattr(error, "detail", error))
    return JSONResponse({"error": message}, status)
