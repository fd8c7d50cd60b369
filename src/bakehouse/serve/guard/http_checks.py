"""Checks before any route: the Host header, the origin of browsers' requests, the size of bodies; and CORS.

Pure ASGI, so that streams and disconnects pass through untouched.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_UPLOADS = re.compile(r"/api/v1/datasets/[^/]+/images")
_SHARE_BYTES = 64 << 10
"""Of a visitor's request: some words."""
_MULTIPART_BYTES = 16 << 20
"""For the heads of the parts of an upload."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ALLOWED_HEADERS = "Authorization, Content-Type, Accept, x-wait-for-model, x-use-cache, x-load-model, lora"
_EXPOSED_HEADERS = (
    "x-compute-type, x-compute-time, x-compute-characters, x-compute-images, x-request-id, Retry-After, RateLimit, "
    "RateLimit-Policy, X-Safety-Checker, X-Watermark, X-Provenance, X-Flagged-Pictures"
)


class HttpChecks:
    """Refuses what no route should see.

    A name in the Host header must be known: a page of another site whose name was pointed to this machine (DNS
    rebinding) is refused. Addresses are no names, so they are allowed. Browsers send Origin with whatever can change
    something: other sites' is refused, also where a browser adds a saved Basic password by itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        body_bytes: int,
        upload_bytes: int | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        self._app, self._notes = app, dict(notes or {})
        self._upload_bytes = upload_bytes or body_bytes
        self._hosts = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}
        self._origins = {origin.rstrip("/").lower() for origin in origins}
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        allowed = origin is not None and origin.lower() in self._origins
        if not self._is_known(host):
            await _refuse(send, 421, f"the host {host[:100]!r} is not served here", "start with --allow-host NAME")
        elif self._is_foreign(origin, host, allowed, headers, scope["method"]):
            await _refuse(
                send, 403, "pages of other sites may not call this server", "start with --allow-origin ORIGIN"
            )
        elif scope["method"] == "OPTIONS" and allowed:
            await _preflight(send, str(origin))
        elif (length := headers.get("content-length", "0")).isdigit() and int(length) > (most := self._most(scope)):
            await _refuse(send, 413, f"the request has {int(length):,} bytes; allowed are {most:,}", "")
        else:
            answer = _with_headers(send, str(origin) if allowed else None, self._notes)
            await self._app(scope, _Limited(receive, self._most(scope)), answer)

    def _most(self, scope: Scope) -> int:
        """Return the bytes that a body may have: more where it is written to the disk as it comes."""
        if scope["path"].startswith("/share/"):
            return min(_SHARE_BYTES, self._body_bytes)
        is_upload = scope["method"] == "POST" and _UPLOADS.fullmatch(scope["path"])
        return self._upload_bytes + _MULTIPART_BYTES if is_upload else self._body_bytes

    def _is_known(self, host: str) -> bool:
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").lower()
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    @staticmethod
    def _is_foreign(origin: str | None, host: str, allowed: bool, headers: Headers, method: str) -> bool:
        if method in _SAFE_METHODS or allowed:
            return False
        if origin is not None:
            return urlsplit(origin).netloc.lower() != host.lower()
        return headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")


class _Limited:
    """Receives a body that says nothing of its length, up to a limit."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left = receive, most

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            return {"type": "http.disconnect"}  # the rest is not read; the route ends with its request
        return message


def _with_headers(send: Send, origin: str | None, notes: Mapping[str, str]) -> Send:
    """Return `send` with headers added: against type guessing and framing, CORS for an allowed origin, and `notes`."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Content-Type-Options"] = "nosniff"
            headers.update(notes)
            headers.setdefault(
                "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"
            )  # the page has its own
            headers["Cross-Origin-Resource-Policy"] = "same-origin" if origin is None else "cross-origin"
            if origin is not None:
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
                headers.add_vary_header("Origin")
        await send(message)

    return answer


async def _preflight(send: Send, origin: str) -> None:
    headers = [
        (b"access-control-allow-origin", origin.encode()),
        (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
        (b"access-control-allow-headers", _ALLOWED_HEADERS.encode()),
        (b"access-control-max-age", b"600"),
        (b"vary", b"Origin"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: Send, status: int, message: str, hint: str) -> None:
    body = json.dumps({"error": f"{message} ({hint})" if hint else message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
