"""Messages between the server and a worker: a JSON object and raw bytes. Nothing is pickled.

On the wire: 4 bytes length of the JSON, the JSON, then the bytes of each attachment; `attached` has their lengths.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from bakehouse.core.parse_json_toml_yaml import parse_json

_LENGTH_BYTES = 4
_MOST_JSON = 64 << 20
_MOST_ATTACHED = 1 << 30


@dataclass(frozen=True)
class Message:
    """A JSON object and its attachments."""

    values: dict[str, Any]
    attached: tuple[bytes, ...] = ()


def encode(values: dict[str, Any], attached: Sequence[bytes] = ()) -> bytes:
    """Return a message as bytes."""
    text = json.dumps({**values, "attached": [len(data) for data in attached]}).encode()
    return b"".join((len(text).to_bytes(_LENGTH_BYTES, "big"), text, *attached))


def read_message(stream: BinaryIO) -> Message | None:
    """Return the next message; None at the end of the stream, also in the middle of a message."""
    length = _read(stream, _LENGTH_BYTES)
    if length is None:
        return None
    text = _read(stream, _json_length(length))
    if text is None:
        return None
    values, sizes = _parsed(text)
    attached = []
    for size in sizes:
        data = _read(stream, size)
        if data is None:
            return None
        attached.append(data)
    return Message(values, tuple(attached))


async def receive(stream: asyncio.StreamReader) -> Message | None:
    """Return the next message; None at the end of the stream, also in the middle of a message."""
    try:
        text = await stream.readexactly(_json_length(await stream.readexactly(_LENGTH_BYTES)))
        values, sizes = _parsed(text)
        return Message(values, tuple([await stream.readexactly(size) for size in sizes]))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def _json_length(data: bytes) -> int:
    length = int.from_bytes(data, "big")
    if length > _MOST_JSON:
        raise ValueError(f"a message of {length:,} bytes: the stream is not a worker's")
    return length


def _parsed(text: bytes) -> tuple[dict[str, Any], list[int]]:
    values = parse_json(text)
    sizes = [int(size) for size in values.pop("attached")]
    if any(not 0 <= size <= _MOST_ATTACHED for size in sizes):
        raise ValueError(f"attachments of {sizes} bytes: the stream is not a worker's")
    return values, sizes


def _read(stream: BinaryIO, count: int) -> bytes | None:
    """Return exactly `count` bytes; None if the stream ends before."""
    parts = []
    while count:
        part = stream.read(count)
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
