"""Images that requests carry: limited, recognized by their content, kept as files until the request ends."""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from bakehouse.core.files import write_bytes
from bakehouse.data.open_image import ImageError, probe, sniff
from bakehouse.serve.errors import ServeError
from bakehouse.serve.guard.limits import Limits

_FETCH_SECONDS = 10.0


class Uploads:
    """The uploaded images of a server, in one folder under names of its own."""

    def __init__(self, folder: Path, limits: Limits, *, fetch_hosts: tuple[str, ...] = ()) -> None:
        self.folder, self._limits = folder, limits
        self._fetch_hosts = {host.lower() for host in fetch_hosts}

    async def save(self, data: bytes, name: str = "image") -> Path:
        """Keep an image and return its path.

        Args:
            data: the file's bytes.
            name: what the request calls it, for messages.

        Raises:
            ServeError: too large, not an image, or one whose header promises too many pixels (400, 413).
        """
        return await asyncio.to_thread(self._save, data, name)

    async def save_text(self, text: str, name: str = "image") -> Path:
        """Keep an image that is given as base64, as a `data:` URL, or as the URL of an allowed host; see `save`."""
        if text.startswith(("http://", "https://")):
            return await self.save(await asyncio.to_thread(self._fetch, text, name), name)
        return await self.save(decode_base64(text, name), name)

    def remove_except(self, kept: set[Path]) -> None:
        """Remove what earlier servers have left, except files of jobs that go on."""
        if self.folder.is_dir():
            for file in self.folder.iterdir():
                if file.is_dir() and not any(one.is_relative_to(file) for one in kept):
                    shutil.rmtree(file, ignore_errors=True)
                elif file not in kept and not file.is_dir():
                    file.unlink(missing_ok=True)

    def _save(self, data: bytes, name: str) -> Path:
        if len(data) > self._limits.upload_bytes:
            message = f"{name} has {len(data):,} bytes; allowed are {self._limits.upload_bytes:,}"
            raise ServeError(413, "too_large", message)
        path = self.folder / f"{secrets.token_hex(16)}.image"
        write_bytes(path, data)
        try:
            if not sniff(path):
                raise ServeError(400, "not_an_image", f"{name} is not an image", hint="send PNG, JPEG or WebP")
            found = probe(path, whole=False)
            pixels = found.width * found.height
            if pixels > self._limits.upload_pixels:
                message = f"{name} has {pixels:,} pixels; allowed are {self._limits.upload_pixels:,}"
                raise ServeError(413, "too_large", message)
        except ImageError as e:
            path.unlink(missing_ok=True)
            raise ServeError(400, "not_an_image", f"{name} cannot be used: {e.reason}") from e
        except ServeError:
            path.unlink(missing_ok=True)
            raise
        return path

    def _fetch(self, url: str, name: str) -> bytes:
        """Fetch an image. Redirects are not followed: they could lead to another host."""
        import requests

        host = (urlsplit(url).hostname or "").lower()
        if host not in self._fetch_hosts:
            raise ServeError(
                400,
                "url_not_allowed",
                f"{name}: images are not fetched from {host or 'there'}",
                hint="send the image itself as base64; the server's --fetch-host NAME allows a host",
            )
        try:
            with requests.get(url, timeout=_FETCH_SECONDS, stream=True, allow_redirects=False) as answer:
                if answer.status_code != 200:
                    raise ServeError(400, "not_fetched", f"{name}: {host} answered {answer.status_code}")
                data = bytearray()
                for piece in answer.iter_content(1 << 16):
                    data += piece
                    if len(data) > self._limits.upload_bytes:
                        break  # `_save` refuses it
                return bytes(data)
        except requests.RequestException as e:
            raise ServeError(400, "not_fetched", f"{name}: {host} cannot be reached") from e


def decode_base64(text: str, name: str = "image") -> bytes:
    """Return the bytes of base64, or of a `data:` URL with base64.

    Raises:
        ServeError: it is neither (400).
    """
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise ServeError(400, "invalid_request", f"{name}: a data: URL must hold base64")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as e:
        raise ServeError(400, "invalid_request", f"{name} is not base64") from e
