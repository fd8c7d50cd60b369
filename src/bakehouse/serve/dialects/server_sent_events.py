"""Server-sent events: a stream of named JSON objects (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi.responses import StreamingResponse

_KEEP_ALIVE_SECONDS = 15.0
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def event_text(values: Mapping[str, Any], name: str | None = None, event_id: str = "") -> str:
    """Return one event; a client that connects again sends the last `event_id` as `Last-Event-ID`."""
    head = (f"id: {event_id}\n" if event_id else "") + (f"event: {name}\n" if name else "")
    return f"{head}data: {json.dumps(values)}\n\n"


def event_response(events: AsyncIterator[str]) -> StreamingResponse:
    """Return an answer that streams events, with comments in between so that proxies keep it open."""
    return StreamingResponse(_kept_alive(events), media_type="text/event-stream", headers=HEADERS)


async def _kept_alive(events: AsyncIterator[str]) -> AsyncIterator[str]:
    coming: asyncio.Task[str] | None = None
    iterator = aiter(events)

    async def following() -> str:
        return await anext(iterator)

    try:
        while True:
            coming = coming or asyncio.ensure_future(following())
            done, _ = await asyncio.wait({coming}, timeout=_KEEP_ALIVE_SECONDS)
            if not done:
                yield ": waiting\n\n"
                continue
            try:
                yield coming.result()
            except StopAsyncIteration:
                return
            coming = None
    finally:
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait({coming})
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
