"""Files of a multipart request, written to the disk as they come: nothing of them is held in memory."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from bakehouse.core.files import writing_to
from bakehouse.serve.errors import ServeError, bad_request

_MOST_FIELD = 64 << 10
"""Bytes of a part that is no file."""
_MOST_PARTS = 20_000
_MOST_HEADER = 8 << 10


@dataclass(frozen=True)
class ReceivedFile:
    """One file of a request."""

    name: str
    """As the client calls it."""
    path: Path
    bytes: int


@dataclass
class Received:
    """The parts of a request."""

    files: list[ReceivedFile] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def received_files(request: Request, folder: Path, *, most_bytes: int) -> AsyncIterator[Received]:
    """The files of a multipart request, in a new folder that is removed at the end of the `with` block.

    Args:
        request: the body is read from it.
        folder: where the new folder is made.
        most_bytes: of all files together.

    Raises:
        ServeError: not multipart, cut short, or too large (400, 413).
    """
    import shutil

    place = folder / secrets.token_hex(16)
    writer = _Writer(place, most_bytes)
    try:
        with writing_to(place):
            place.mkdir(parents=True)
            yield await writer.read(request)
    finally:
        writer.close()
        shutil.rmtree(place, ignore_errors=True)


class _Writer:
    """Takes what the parser finds and writes it."""

    def __init__(self, place: Path, most_bytes: int) -> None:
        self._place, self._left = place, most_bytes
        self._most = most_bytes
        self._received = Received()
        self._parts = 0
        self._header = [b"", b""]
        self._disposition: dict[bytes, bytes] = {}
        self._file: IO[bytes] | None = None
        self._path = place
        self._field = b""
        self._ended = False

    async def read(self, request: Request) -> Received:
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
            raise bad_request("files are sent as multipart/form-data", hint="curl -F files=@a.png")
        callbacks = {name: getattr(self, name) for name in dir(self) if name.startswith("on_")}
        try:
            parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
            async for chunk in request.stream():
                parser.write(chunk)
            parser.finalize()
        except MultipartParseError as e:
            raise bad_request(f"the request is not multipart/form-data: {e}") from e
        if not self._ended:
            raise bad_request("the request ended in the middle of a file", hint="send it again")
        return self._received

    def on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise ServeError(413, "too_large", f"the request has more than {_MOST_PARTS:,} parts")
        self._disposition, self._field = {}, b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] = self._grown(self._header[0], data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] = self._grown(self._header[1], data[start:end])

    def on_header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = parse_options_header(value)[1]
        self._header = [b"", b""]

    def on_headers_finished(self) -> None:
        if b"filename" in self._disposition:
            self._path = self._place / f"{self._parts:05d}"
            self._file = self._path.open("wb")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._field = self._grown(self._field, data[start:end], _MOST_FIELD)
            return
        self._left -= end - start
        if self._left < 0:
            raise ServeError(413, "too_large", f"the files are larger than this server's limit of {self._most:,} bytes")
        self._file.write(data[start:end])

    def on_part_end(self) -> None:
        if self._file is not None:
            size = self._file.tell()
            self.close()
            name = self._disposition[b"filename"].decode("utf-8", "replace")
            self._received.files.append(ReceivedFile(name, self._path, size))
        else:
            name = self._disposition.get(b"name", b"").decode("utf-8", "replace")
            self._received.fields[name] = self._field.decode("utf-8", "replace")

    def on_end(self) -> None:
        self._ended = True

    def close(self) -> None:
        """Close the file that is being written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @staticmethod
    def _grown(before: bytes, more: bytes, most: int = _MOST_HEADER) -> bytes:
        if len(before) + len(more) > most:
            raise ServeError(413, "too_large", f"a part of the request has more than {most:,} bytes")
        return before + more
