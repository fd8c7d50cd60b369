"""Downloading one file over HTTP: interrupted downloads are resumed, and size and hash are checked at the end.

`requests` makes the connections. The Hub's own client is no help here: its sessions are those of requests, httpx or
httpx2, depending on its version, and its downloads know neither ETags nor hashes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import OnEvent, Progress, ignore
from bakehouse.core.files import write_text, writing_to

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 18
_MEGABYTE = 1_000_000
_TIMEOUT_SECONDS = 30.0
"""Without a connection, or without a byte."""
_RETRIES = 2
"""Of a connection that fails, and of answers that say that the server is busy."""
_BUSY = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL, with what is known of its content."""

    url: str
    """May hold a login: `https://name:password@host/`. It is sent to this host alone, and never shown."""
    digest: str = ""
    """`sha256:...` or `sha512:...` in hex; empty if unknown."""
    size: int | None = None
    certificates: str | None = None
    """File with the certificate authorities to trust instead of the system's."""


class DownloadError(BakehouseError):
    """A download failed, or brought something else than it should."""


class ByteProgress:
    """Reports bytes as progress events, in megabytes."""

    def __init__(self, what: str, total: int | None, on_event: OnEvent) -> None:
        self._what, self._total, self._on_event, self._reported = what, total, on_event, -1

    def update(self, done: int) -> None:
        """Report that `done` bytes of the total are there."""
        total = max(self._total or done, 1)
        if total < 2 * _MEGABYTE:
            if self._reported < 0 or done >= total:
                self._on_event(Progress(what=self._what, done=int(done >= total), total=1))
                self._reported = 0
        elif done // _MEGABYTE != self._reported:
            self._reported = done // _MEGABYTE
            self._on_event(Progress(what=f"{self._what}, MB", done=self._reported, total=-(-total // _MEGABYTE)))


def hash_file(path: Path, algorithm: str = "sha256", *, what: str = "", on_event: OnEvent = ignore) -> str:
    """Return the hex digest of a file; `on_event` is called with the progress, in megabytes."""
    progress = ByteProgress(what or f"checking {path.name}", path.stat().st_size, on_event)
    digest, done = hashlib.new(algorithm), 0
    with path.open("rb") as f:
        while chunk := f.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress.update(done)
    return digest.hexdigest()


def get(file: RemoteFile, headers: Mapping[str, str] | None = None) -> requests.Response:
    """Return the answer to a GET request, whose content has not been read yet.

    Proxies come from the environment (`HTTPS_PROXY`, ...), certificate authorities from the file's `certificates`,
    `REQUESTS_CA_BUNDLE`, `SSL_CERT_FILE` or the system. Logins are not passed on to another host by a redirection.

    Raises:
        requests.RequestException: no connection, or an answer of 400 and above.
    """
    response = _session(file.certificates).get(
        file.url,
        headers={"User-Agent": "bakehouse", **(headers or {})},
        verify=file.certificates or True,
        timeout=_TIMEOUT_SECONDS,
        stream=True,
    )
    if not response.ok:
        response.close()
    response.raise_for_status()
    return response


@functools.cache
def _session(certificates: str | None) -> requests.Session:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    class SystemTrust(HTTPAdapter):
        """Trusts what the system trusts, where `requests` alone would use certifi's list: companies add their own."""

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, ssl_context=ssl.create_default_context(cafile=certificates), **kwargs)

        def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
            trust = ssl.create_default_context(cafile=certificates)
            return super().proxy_manager_for(proxy, ssl_context=trust, **kwargs)

    session = requests.Session()
    retry = Retry(
        _RETRIES, backoff_factor=0.2, status_forcelist=_BUSY, raise_on_status=False, respect_retry_after_header=False
    )
    session.mount("https://", SystemTrust(max_retries=retry))
    session.mount("http://", HTTPAdapter(max_retries=retry))
    return session


def without_login(url: str) -> str:
    """Return a URL without the name and password in it, for messages."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def reason_of(error: Exception) -> str:
    """Return in a few words why a request failed."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    first: BaseException = error  # urllib3 and requests wrap the system's error, which says it best
    while cause := first.__cause__ or first.__context__:
        first = cause
    return f"no connection ({str(first) or type(first).__name__})"


def download(file: RemoteFile, target: Path, *, what: str, on_event: OnEvent = ignore) -> Path:
    """Download a file to `target`, which is there only when it is whole and checked, and return `target`.

    What an earlier call has brought of it is not asked for again.

    Args:
        file: the URL, hash and size.
        target: where to write; `TARGET.incomplete` holds what there is until then.
        what: for the progress: `fetching u2netp`.
        on_event: called with the progress.

    Raises:
        DownloadError: no answer, cut off, or the wrong size or hash. What was downloaded stays for the next call,
            unless it is wrong.
        BakehouseError: the folder cannot be written.
    """
    partial = target.with_name(f"{target.name}.incomplete")
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        while not _continue(file, partial, what, on_event):
            pass
        _check(file, partial, what, on_event)
        partial.replace(target)
    _etag_file(partial).unlink(missing_ok=True)
    return target


def _continue(file: RemoteFile, partial: Path, what: str, on_event: OnEvent) -> bool:
    """Download what is missing; False if the connection was lost after it brought something, so try again."""
    import requests
    from urllib3.exceptions import HTTPError as ConnectionLost

    before = partial.stat().st_size if partial.is_file() else 0
    try:
        with get(file, _resume_headers(file, partial)) as response:
            total = _receive(file, response, partial, what, on_event)
    except requests.HTTPError as e:
        assert e.response is not None  # raised for the answer's status
        if e.response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not before:
            raise DownloadError(f"{without_login(file.url)}: {reason_of(e)}") from e
        if file.size == before:
            return True  # nothing is missing
        partial.unlink()
        return False
    except (requests.RequestException, ConnectionLost) as e:
        if partial.is_file() and partial.stat().st_size > before:
            return False
        raise DownloadError(f"{without_login(file.url)}: {reason_of(e)}") from e
    done = partial.stat().st_size
    if total is not None and done < total:
        if done > before:
            return False
        raise DownloadError(f"{without_login(file.url)}: cut off after {done} of {total} bytes")
    return True


def _etag_file(partial: Path) -> Path:
    """The file beside an incomplete one that says which version of the file on the server it belongs to."""
    return partial.with_name(f"{partial.name}.etag")


def _resume_headers(file: RemoteFile, partial: Path) -> dict[str, str]:
    """The headers that ask only for what is missing. Without an ETag or a hash, `partial` may be of another version."""
    plain = {"Accept-Encoding": "identity"}
    if not partial.is_file() or not partial.stat().st_size:
        return plain
    etag = _etag_file(partial).read_text("utf-8") if _etag_file(partial).is_file() else ""
    if not etag and not file.digest:
        return plain
    return {**plain, "Range": f"bytes={partial.stat().st_size}-", **({"If-Range": etag} if etag else {})}


def _receive(file: RemoteFile, response: requests.Response, partial: Path, what: str, on_event: OnEvent) -> int | None:
    """Append the answer to `partial`, or write it anew; return the size of the whole file if it is known."""
    resumes = response.status_code == HTTPStatus.PARTIAL_CONTENT
    length = response.headers.get("Content-Length")
    done = partial.stat().st_size if resumes else 0
    total = done + int(length) if length else file.size
    if not resumes:
        etag = response.headers.get("ETag", "")
        version = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
        _etag_file(partial).unlink(missing_ok=True)
        if version:
            write_text(_etag_file(partial), version)
    progress = ByteProgress(what, total, on_event)
    with partial.open("ab" if resumes else "wb") as f:
        # As it comes: `iter_content` would drop the last piece before a lost connection.
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            f.write(chunk)
            done += len(chunk)
            progress.update(done)
    return total


def _check(file: RemoteFile, partial: Path, what: str, on_event: OnEvent) -> None:
    size, problem = partial.stat().st_size, ""
    if file.size is not None and size != file.size:
        problem = f"has {size} bytes, expected {file.size}"
    elif file.digest:
        algorithm, _, expected = file.digest.partition(":")
        found = hash_file(partial, algorithm, what=what.replace("fetching", "checking"), on_event=on_event)
        if found != expected:
            problem = f"has the {algorithm} {found}, expected {expected}"
    if problem:
        with contextlib.suppress(OSError):
            partial.unlink()
            _etag_file(partial).unlink(missing_ok=True)
        raise DownloadError(f"the download from {without_login(file.url)} {problem}; it was deleted")
