"""The web page: one document and its built files, the same for everybody. What it shows comes over `/api/v1`."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse, JSONResponse

from bakehouse.serve.errors import ServeError, not_found
from bakehouse.serve.guard.rules import Dialect

FOLDER = Path(__file__).parent.parent / "page"
"""Built from `web/`: see CONTRIBUTING.md."""
_NONCE = "NONCE-OF-THIS-ANSWER"
"""Stands in the built document where each answer puts a number of its own."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; font-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".woff2": "font/woff2",
    ".svg": "image/svg+xml",
}


def _error(request: Request, error: ServeError) -> Response:
    return JSONResponse({"error": error.text}, error.status)


PAGE = Dialect("page", _error)


@PAGE.route("GET", "/", "open")
async def document() -> Response:
    """Return the page. Styles that its libraries add at run time carry the nonce of this answer."""
    nonce = secrets.token_urlsafe(16)
    headers = {
        "Content-Security-Policy": _POLICY.format(nonce=nonce),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
    }
    return Response(_document().replace(_NONCE, nonce), media_type="text/html; charset=utf-8", headers=headers)


@PAGE.route("GET", "/icon.svg", "open")
async def icon() -> Response:
    """Return the page's icon."""
    return FileResponse(FOLDER / "icon.svg", media_type=_TYPES[".svg"], headers={"Cache-Control": "max-age=86400"})


@PAGE.route("GET", "/service-worker.js", "open")
async def service_worker() -> Response:
    """Return the script that keeps the page's files in the browser. It is asked for again at each visit."""
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": "default-src 'none'; connect-src 'self'"}
    return FileResponse(FOLDER / "service-worker.js", media_type=_TYPES[".js"], headers=headers)


@PAGE.route("GET", "/assets/{name}", "open")
async def asset(name: str) -> Response:
    """Return a built file. Its name holds a hash of its contents, so browsers may keep it."""
    path = _assets().get(name)
    if path is None:
        raise not_found(f"the page has no file {name!r}")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return FileResponse(path, media_type=_TYPES[path.suffix], headers=headers)


@cache
def _document() -> str:
    return (FOLDER / "index.html").read_text("utf-8")


@cache
def _assets() -> dict[str, Path]:
    return {path.name: path for path in (FOLDER / "assets").iterdir() if path.suffix in _TYPES}
