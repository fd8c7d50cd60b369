"""Where requests may publish to: a folder of the server's own, a repository of the Hub, or a storage behind a URL."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from bakehouse.core.file_store import protocol_of
from bakehouse.serve.errors import ServeError, bad_request
from bakehouse.serve.guard.callers import Caller
from bakehouse.serve.guard.paths import check_name

HUB = "hub:"
STORAGES = (
    "s3", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "r2", "sftp", "ssh", "webdav", "webdavs", "hdfs",
    "smb", "dropbox", "gdrive", "box",
)  # fmt: skip
"""Protocols that lead to another machine. `file://`, `memory://` and the like would name places of this one."""
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_LONGEST = 500


def destination(to: str, folder: Path, caller: Caller) -> str:
    """Return a destination as `bakehouse publish --to` takes it.

    Args:
        to: `NAME` of a folder in `folder`, `hub:owner/name`, or a URL.
        folder: the server's folder of publications.
        caller: who asks. What leaves the server goes in the name of whoever started it.

    Raises:
        ServeError: no such destination (400), or the caller may not publish there (403).
    """
    if len(to) > _LONGEST or not to.isprintable():
        raise bad_request(f"the destination is longer than {_LONGEST} characters, or holds characters that none may")
    if to.startswith(HUB):
        if not _REPOSITORY.fullmatch(to.removeprefix(HUB)):
            raise bad_request(f"{to!r} is no repository of the Hub", hint="write hub:owner/name, such as hub:me/zwx")
    elif protocol_of(to) or "://" in to:
        _check_url(to)
    else:
        return str(folder / check_name(to, "folder"))
    if "admin" not in caller.scopes:
        raise ServeError(
            403,
            "forbidden",
            f"{caller.name} may publish to folders of this server alone: elsewhere it happens in its owner's name, "
            "and needs the scope admin",
            hint="bakehouse tokens add NAME --scope admin",
        )
    return to


def _check_url(url: str) -> None:
    protocol = protocol_of(url)
    if protocol not in STORAGES or "::" in url:
        raise bad_request(
            f"nothing is published to {protocol or url[:80]!r} from here", hint=f"allowed are {', '.join(STORAGES)}"
        )
    try:
        parts = urlsplit(url)
        has_password = parts.password is not None
    except ValueError:
        raise bad_request("the destination is not a URL") from None
    if has_password:
        raise bad_request(
            "the destination holds a password, which would be kept and shown",
            hint="leave it out; the storage's own settings on the server hold it",
        )
    if not parts.netloc:
        raise bad_request(f"{url!r} names no bucket or host", hint="such as s3://bucket/zwx")
