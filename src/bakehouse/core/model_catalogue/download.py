"""One file from one address: goes on where it was cut off, and counts only when size and hash are right."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import OnEvent, Progress, ignore
from bakehouse.core.files import write_text, writing_to

_PIECE = 1 << 18
_MEGA = 1_000_000
_SECONDS = 30.0
"""Without a byte, after which a connection counts as dead."""


@dataclass(frozen=True)
class Remote:
    """An address, and how what lies there is known."""

    url: str
    digest: str = ""
    """`sha256:...` or `sha512:...` in hex; empty where nobody has said it."""
    size: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent to this host alone, never to where it redirects."""
    certificates: str | None = None
    """A file with the authorities to trust instead of the system's."""


class FetchError(BakehouseError):
    """Something could not be had from the network."""


class Count:
    """Turns bytes into events: megabytes, since nobody reads bytes."""

    def __init__(self, what: str, total: int | None, on_event: OnEvent) -> None:
        self._what, self._total, self._on_event, self._said = what, total, on_event, -1

    def at(self, done: int) -> None:
        """So many bytes are there."""
        total = max(self._total or done, 1)
        if total < 2 * _MEGA:
            if self._said < 0 or done >= total:
                self._on_event(Progress(what=self._what, done=int(done >= total), total=1))
                self._said = 0
        elif done // _MEGA != self._said:
            self._said = done // _MEGA
            self._on_event(Progress(what=f"{self._what}, MB", done=self._said, total=-(-total // _MEGA)))


def hash_file(path: Path, algorithm: str = "sha256", *, what: str = "", on_event: OnEvent = ignore) -> str:
    """Hex digest of a file, told in megabytes on the way."""
    count = Count(what or f"checking {path.name}", path.stat().st_size, on_event)
    digest, done = hashlib.new(algorithm), 0
    with path.open("rb") as f:
        while piece := f.read(_PIECE):
            digest.update(piece)
            done += len(piece)
            count.at(done)
    return digest.hexdigest()


def open_url(remote: Remote, headers: Mapping[str, str] | None = None) -> Any:
    """An open answer of a server.

    Raises:
        urllib.error.URLError: no connection, or an answer that is no success.
    """
    address, login = _without_login(remote.url)
    request = urllib.request.Request(address, headers={"User-Agent": "bakehouse", **(headers or {})})
    for name, value in {**login, **remote.headers}.items():
        request.add_unredirected_header(name, value)
    trust = ssl.create_default_context(cafile=remote.certificates) if remote.certificates else None
    return urllib.request.urlopen(request, timeout=_SECONDS, context=trust)


def _without_login(url: str) -> tuple[str, dict[str, str]]:
    """`https://me:secret@host/` as the address alone and the header that says who asks."""
    parts = urllib.parse.urlsplit(url)
    if "@" not in parts.netloc:
        return url, {}
    login, _, host = parts.netloc.rpartition("@")
    token = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
    return urllib.parse.urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {token}"}


def shown(url: str) -> str:
    """An address as it may be shown: without a login."""
    return _without_login(url)[0]


def why(error: Exception) -> str:
    """In a few words, why there was no answer."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return f"no connection ({reason or type(error).__name__})"


def download(remote: Remote, target: Path, *, what: str, on_event: OnEvent = ignore) -> Path:
    """The file behind an address, at `target`, whole and checked. What was got of it before is not asked for again.

    Raises:
        FetchError: no answer, cut off, or not what it should be; what was got so far stays for the next call unless
            it is wrong.
        BakehouseError: the place cannot be written.
    """
    partial = target.with_name(f"{target.name}.incomplete")
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        while _ask(remote, partial, what, on_event):
            pass
        _check(remote, partial, what, on_event)
        partial.replace(target)
    _mark(partial).unlink(missing_ok=True)
    return target


def _ask(remote: Remote, partial: Path, what: str, on_event: OnEvent) -> bool:
    """One connection; True where it was cut off after it had brought something, so that it is worth another."""
    before = partial.stat().st_size if partial.is_file() else 0
    try:
        with open_url(remote, _resume(remote, partial)) as answer:
            total = _receive(remote, answer, partial, what, on_event)
    except urllib.error.HTTPError as e:
        e.close()
        if e.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not before:
            raise FetchError(f"{shown(remote.url)}: {why(e)}") from e
        if remote.size == before:
            return False  # all of it was there already
        partial.unlink()
        return True
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as e:
        if partial.is_file() and partial.stat().st_size > before:
            return True
        raise FetchError(f"{shown(remote.url)}: {why(e)}") from e
    got = partial.stat().st_size
    if total is not None and got < total:
        if got > before:
            return True
        raise FetchError(f"{shown(remote.url)}: cut off after {got} of {total} bytes")
    return False


def _mark(partial: Path) -> Path:
    """Beside a half: which version of the file it is a half of."""
    return partial.with_name(f"{partial.name}.etag")


def _resume(remote: Remote, partial: Path) -> dict[str, str]:
    """The headers that ask for the rest alone. Without a mark or a hash nobody could say that it is the same file."""
    plain = {"Accept-Encoding": "identity"}
    if not partial.is_file() or not partial.stat().st_size:
        return plain
    mark = _mark(partial).read_text("utf-8") if _mark(partial).is_file() else ""
    if not mark and not remote.digest:
        return plain
    return {**plain, "Range": f"bytes={partial.stat().st_size}-", **({"If-Range": mark} if mark else {})}


def _receive(remote: Remote, answer: Any, partial: Path, what: str, on_event: OnEvent) -> int | None:
    """Writes what comes behind what is there, or from the start; gives the size of the whole where it is said."""
    goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
    length = answer.headers.get("Content-Length")
    done = partial.stat().st_size if goes_on else 0
    total = done + int(length) if length else remote.size
    if not goes_on:
        tag = answer.headers.get("ETag", "")
        mark = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")
        _mark(partial).unlink(missing_ok=True)
        if mark:
            write_text(_mark(partial), mark)
    count = Count(what, total, on_event)
    with partial.open("ab" if goes_on else "wb") as f:
        while piece := answer.read(_PIECE):
            f.write(piece)
            done += len(piece)
            count.at(done)
    return total


def _check(remote: Remote, partial: Path, what: str, on_event: OnEvent) -> None:
    got, problem = partial.stat().st_size, ""
    if remote.size is not None and got != remote.size:
        problem = f"has {got} bytes instead of {remote.size}"
    elif remote.digest:
        algorithm, _, expected = remote.digest.partition(":")
        found = hash_file(partial, algorithm, what=what.replace("fetching", "checking"), on_event=on_event)
        if found != expected:
            problem = f"has the {algorithm} {found}, expected is {expected}"
    if problem:
        with contextlib.suppress(OSError):
            partial.unlink()
            _mark(partial).unlink(missing_ok=True)
        raise FetchError(f"what came from {shown(remote.url)} {problem}; it was thrown away")
