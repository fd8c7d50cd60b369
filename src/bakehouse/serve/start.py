"""Run a server until it is stopped, or say what it would do."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bakehouse.core.errors import UsageError
from bakehouse.serve.settings import ServeSettings

_BACKLOG = 2048
"""Connections that may wait to be accepted; uvicorn's."""
_NEEDED = ("fastapi", "uvicorn", "python_multipart")


@dataclass(frozen=True)
class OpenTo:
    """One route and who may use it."""

    method: str
    path: str
    access: str
    dialect: str
    callers: tuple[str, ...]
    """Names of tokens and shares, `anonymous`, `everybody`, or `the session's token`."""


def check_installed() -> None:
    """Check that the extra `serve` is installed.

    Raises:
        UsageError: it is not; names the command that installs it.
    """
    missing = [name.replace("_", "-") for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"the server needs {', '.join(missing)}", hint="pip install 'bakehouse[serve]'")


def serve(settings: ServeSettings, *, on_ready: Callable[[str, str | None], None]) -> None:
    """Serve until SIGINT or SIGTERM, then let running requests end.

    Args:
        settings: how to serve.
        on_ready: called with the server's URL, and with the token of this session if no other token exists.

    Raises:
        UsageError: no or unknown models, an address without tokens, or one that is in use.
        BakehouseError: the database or a model cannot be used.
    """
    check_installed()
    import uvicorn

    from bakehouse.serve.app import make_app, with_middleware
    from bakehouse.serve.logs import configure_logs

    configure_logs()
    token = session_token(settings)
    listening = _listen(settings)
    host, port = listening.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    app = make_app(settings, session_token=token)
    config = uvicorn.Config(
        with_middleware(app, settings),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",  # uvicorn would turn an error at the start into a traceback and exit code 3
        timeout_graceful_shutdown=round(settings.grace),
        ws="none",
    )

    async def run() -> None:
        async with app.router.lifespan_context(app):
            listening.listen(_BACKLOG)  # who reads that the server is ready may connect at once
            on_ready(url, token)
            with _signals_end_uvicorn_alone():
                await uvicorn.Server(config).serve(sockets=[listening])

    with listening:
        asyncio.run(run())


@contextlib.contextmanager
def _signals_end_uvicorn_alone() -> Iterator[None]:
    """Let a signal end uvicorn, which sends it to the process again when it has ended; then workers are stopped."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def session_token(settings: ServeSettings) -> str | None:
    """Return a token for this session if the server has no other way in: no tokens, and no anonymous access."""
    from bakehouse.serve.store.store import Store
    from bakehouse.serve.store.tokens import new_secret

    store = Store(settings.folder)
    try:
        return None if settings.anonymous is not None or store.tokens.valid() else new_secret()
    finally:
        store.close()


def open_to(settings: ServeSettings) -> Iterator[OpenTo]:
    """Yield each route with who may use it. Starts nothing.

    Raises:
        UsageError: what would end the start of the server.
    """
    check_installed()
    from bakehouse.serve.app import make_app
    from bakehouse.serve.guard.callers import IMPLIED
    from bakehouse.serve.guard.rules import rules_of

    app = make_app(settings)
    rules = rules_of(app)
    tokens = app.state.store.tokens.valid()
    shares = tuple(f"link of {share.name}" for share in app.state.store.shares.valid())
    app.state.store.close()
    for rule in rules:
        if rule.access == "share":
            yield OpenTo(rule.method, rule.path, rule.access, rule.dialect, shares)
            continue
        callers = [t.name for t in tokens if any(rule.access in IMPLIED[scope] for scope in t.scopes)]
        if settings.anonymous is not None and rule.access in IMPLIED[settings.anonymous]:
            callers.append("anonymous")
        if not tokens and settings.anonymous is None:
            callers.append("the session's token")
        everybody = ("everybody",) if rule.access == "open" else tuple(callers)
        yield OpenTo(rule.method, rule.path, rule.access, rule.dialect, everybody)


def _listen(settings: ServeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    # Connections inherit it. Without it the body of an answer waits 40 ms for the client to confirm its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as e:
        listening.close()
        raise UsageError(
            f"cannot listen on {settings.host} port {settings.port}: {e.strerror}", hint="choose another: --port 0"
        ) from e
    return listening
