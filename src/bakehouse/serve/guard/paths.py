"""Names and paths that requests give: nothing outside the server's folders can be named."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from bakehouse.core.file_names import file_name_problem
from bakehouse.serve.errors import bad_request, not_found

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}", re.ASCII)
_LONGEST_PATH = 512


def check_name(name: str, what: str) -> str:
    """Return the name of a dataset, a run or a model, which is also a folder's.

    Raises:
        ServeError: it cannot be one (400).
    """
    if not _NAME.fullmatch(name) or file_name_problem(name):
        raise bad_request(
            f"{name[:80]!r} cannot be the name of a {what}",
            hint="use letters, digits, . _ + -, at most 64, beginning with a letter or a digit",
        )
    return name


def folder_named(root: Path, name: str, what: str) -> Path:
    """Return an existing folder of `root`.

    Raises:
        ServeError: there is none with this name (404).
    """
    path = root / name
    if not _NAME.fullmatch(name) or not path.is_dir():
        raise not_found(f"there is no {what} {name[:80]!r}")
    return path


def relative_path(text: str, what: str = "path") -> PurePosixPath:
    """Return a path inside a folder, as requests write it: `1_red/a.png`.

    Raises:
        ServeError: it is empty, absolute, hidden, leads upwards, or holds what no file name may (400).
    """
    parts = text.split("/")
    if len(text) > _LONGEST_PATH or any(part in ("", ".", "..") or part.startswith(".") for part in parts):
        raise bad_request(f"{what} {text[:80]!r} is not a path in the folder")
    if any("\\" in part or ":" in part or not part.isprintable() for part in parts):
        raise bad_request(f"{what} {text[:80]!r} holds characters that no file name may have")
    return PurePosixPath(text)


def file_inside(root: Path, text: str, what: str = "file") -> Path:
    """Return an existing file of a folder; what a link inside leads out to is not there.

    Raises:
        ServeError: not a path (400), or no such file (404).
    """
    name = relative_path(text, what)
    path = root / name
    try:
        found = path.is_file() and path.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError):
        found = False
    if not found:
        raise not_found(f"there is no {what} {text[:80]!r}")
    return path
