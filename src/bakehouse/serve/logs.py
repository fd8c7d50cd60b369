"""Logs: one JSON object a line, on standard error. Prompts, tokens and images are not in them."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bakehouse.serve.metrics import Metrics

log = logging.getLogger("bakehouse.serve")

_LINK = re.compile(r"^(/share/)[^/]+")
"""The secret part of a share's address."""
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """Writes a record as JSON: time (UTC), level, message, and what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        values: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _USUAL},
        }
        if record.exc_info:
            values["error"] = self.formatException(record.exc_info)
        return json.dumps(values, default=str, ensure_ascii=False)


def configure_logs(level: int = logging.INFO) -> None:
    """Send the logs of the server and of uvicorn to standard error as JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    for name in ("bakehouse.serve", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = ([handler], False) if name != "uvicorn.error" else ([], True)
        logger.setLevel(level if name == "bakehouse.serve" else logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True  # `RequestLog` says more, and no queries


class RequestLog:
    """Logs and counts each request when its answer has been sent. Pure ASGI."""

    def __init__(self, app: ASGIApp, metrics: Callable[[], Metrics]) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            seconds = time.perf_counter() - began
            state = scope.get("state", {})
            caller, dialect = state.get("caller"), state.get("dialect", "none")
            self._metrics().count(dialect, status, seconds)
            facts = {
                "method": scope["method"],
                "path": _LINK.sub(r"\1...", scope["path"]),
                "status": status,
                "seconds": round(seconds, 4),
                "dialect": dialect,
                "caller": getattr(caller, "name", None),
                **state.get("log", {}),
            }
            log.info("request", extra={name: value for name, value in facts.items() if value is not None})
