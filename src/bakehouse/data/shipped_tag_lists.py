"""The lists and rules about tags that are shipped with bakehouse, as TOML files in `tag_lists/`."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Any

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.parse_json_toml_yaml import parse_toml

_FOLDER = "tag_lists"


@functools.cache
def read_data(name: str) -> dict[str, Any]:
    """Return the content of a shipped TOML file.

    Args:
        name: the file's name without `.toml`.
    """
    text = resources.files(__package__).joinpath(_FOLDER, f"{name}.toml").read_text("utf-8")
    return parse_toml(text)


def text_of(name: str) -> str:
    """Return the text of a shipped file, with its comments.

    Raises:
        UsageError: there is no such file.
    """
    if name not in shipped_names():
        raise UsageError(
            f"no shipped rules or list {name!r}{did_you_mean(name, shipped_names())}",
            hint=f"names: {', '.join(sorted(shipped_names()))}",
        )
    return resources.files(__package__).joinpath(_FOLDER, f"{name}.toml").read_text("utf-8").rstrip()


def summary_of(name: str) -> str:
    """Return the first sentence of a shipped file, which says what it is."""
    return re.split(r"\.\s", text_of(name).removeprefix("#"), maxsplit=1)[0].strip()


@functools.cache
def read_list(name: str) -> tuple[str, ...]:
    """Return a shipped list of tags or patterns, with all its groups joined.

    Raises:
        UsageError: there is no such list.
    """
    lists = {n for n in shipped_names() if all(isinstance(v, list) for v in read_data(n).values())}
    if name not in lists:
        known = sorted(lists)
        raise UsageError(f"no shipped list {name!r}{did_you_mean(name, known)}", hint=f"names: {', '.join(known)}")
    return tuple(entry for group in read_data(name).values() for entry in group)


@functools.cache
def shipped_names() -> frozenset[str]:
    """Return the names of all shipped files."""
    folder = resources.files(__package__).joinpath(_FOLDER)
    return frozenset(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))
