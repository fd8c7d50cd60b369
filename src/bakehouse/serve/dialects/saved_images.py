"""Images of a request, kept until its answer: what all dialects use for uploads."""

from __future__ import annotations

from pathlib import Path

from fastapi import Request

from bakehouse.serve.server import server_of


async def save_text(request: Request, text: str, name: str) -> Path:
    """Keep an image that is given as text until the request is answered; see `Uploads.save_text`."""
    path = await server_of(request).uploads.save_text(text, name)
    request.state.uploaded.append(path)
    return path


async def save_bytes(request: Request, data: bytes, name: str) -> Path:
    """Keep an image until the request is answered; see `Uploads.save`."""
    path = await server_of(request).uploads.save(data, name)
    request.state.uploaded.append(path)
    return path


def keep_uploads(request: Request) -> list[Path]:
    """Take the images of a request over: they stay when it is answered, and the caller of this removes them."""
    kept: list[Path] = request.state.uploaded
    request.state.uploaded = []
    return kept
