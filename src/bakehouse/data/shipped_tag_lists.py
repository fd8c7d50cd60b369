"""What is known of tags and ships as data: TOML files beside this one."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Any

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.json_toml_yaml import parse_toml

_FOLDER = "tag_lists"


@functools.cache
def read_data(name: str) -> dict[str, Any]:
    """A shipped TOML file.

    Args:
        name: without `.toml`.
    """
    text = resources.files(__package__).joinpath(_FOLDER, f"{name}.toml").read_text("utf-8")
    return parse_toml(text)


def text_of(name: str) -> str:
    """A shipped file as it is written, comments included.

    Raises:
        UsageError: there is no such file.
    """
    if name not in shipped_names():
        raise UsageError(
            f"no rules or list {name!r}{did_you_mean(name, shipped_names())}",
            hint=f"there are {', '.join(sorted(shipped_names()))}",
        )
    return resources.files(__package__).joinpath(_FOLDER, f"{name}.toml").read_text("utf-8").rstrip()


def summary_of(name: str) -> str:
    """What a shipped file is, in its own first sentence."""
    return re.split(r"\.\s", text_of(name).removeprefix("#"), maxsplit=1)[0].strip()


@functools.cache
def read_list(name: str) -> tuple[str, ...]:
    """A shipped list of tags or patterns, all its groups together.

    Raises:
        UsageError: there is no such list.
    """
    lists = {n for n in shipped_names() if all(isinstance(v, list) for v in read_data(n).values())}
    if name not in lists:
        known = sorted(lists)
        raise UsageError(f"no list {name!r}{did_you_mean(name, known)}", hint=f"there are {', '.join(known)}")
    return tuple(entry for group in read_data(name).values() for entry in group)


@functools.cache
def shipped_names() -> frozenset[str]:
    """The names of all shipped data files."""
    folder = resources.files(__package__).joinpath(_FOLDER)
    return frozenset(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))
