"""The parts of a running server, made together and found by routes as `request.app.state.server`."""

from __future__ import annotations

from fastapi import Request

from bakehouse.serve.guard.callers import Caller, Gate
from bakehouse.serve.guard.quotas import Quotas
from bakehouse.serve.guard.uploads import Uploads
from bakehouse.serve.metrics import Metrics
from bakehouse.serve.response_cache import ResponseCache
from bakehouse.serve.settings import ServeSettings
from bakehouse.serve.store.store import Store
from bakehouse.serve.work.engine import Engine


class Server:
    """A server's parts. Made in the event loop that it runs in."""

    def __init__(self, settings: ServeSettings, store: Store, *, session_token: str | None = None) -> None:
        self.settings, self.store = settings, store
        self.gate = Gate(store.tokens, anonymous=settings.anonymous, quota=settings.quota, session_token=session_token)
        self.quotas = Quotas(store.ledger)
        self.uploads = Uploads(store.uploads, settings.limits, fetch_hosts=settings.fetch_hosts)
        self.engine = Engine(settings.engine)
        self.metrics = Metrics()
        self.cache = ResponseCache()

    @property
    def upscalers(self) -> list[str]:
        """Names of upscalers that requests may use."""
        return [str(row["name"]) for row in self.engine.facts()["upscalers"]]


def server_of(request: Request) -> Server:
    """Return the server that a request came to."""
    server: Server = request.app.state.server
    return server


def caller_of(request: Request) -> Caller:
    """Return who sent a request. Only for routes whose rule is not `open`."""
    caller: Caller = request.state.caller
    return caller
