"""Opens a settings file: TOML, JSON, YAML, or a script that contains a command line."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bakehouse.core.errors import UsageError
from bakehouse.core.parse_json_toml_yaml import parse_json, parse_toml, parse_yaml
from bakehouse.data.captions import decode_text
from bakehouse.recipe.importers.command_line import Command, find_command
from bakehouse.recipe.importers.value_types import is_folder

Format = Literal["toml", "json", "yaml", "command"]

_DATA = (".toml", ".json", ".yaml", ".yml")
_CODE = (".py", ".ipynb", ".sh", ".bat", ".cmd", ".ps1")
_WANTED = (
    "give a .toml, .json or .yaml file, or a script with a line such as `accelerate launch train_network.py --...`"
)
_WRITE_OUT = (
    "write out the command that it runs, `accelerate launch train_network.py --...`, and import that, "
    "or import the settings file that it makes for the trainer"
)


@dataclass(frozen=True)
class Document:
    """The parsed content of a settings file, before its trainer is known."""

    path: Path
    format: Format
    data: Any
    """The parsed content; for a script a `Command`."""

    @property
    def folder(self) -> Path:
        """The folder that relative paths may start from."""
        return self.path.parent

    @property
    def table(self) -> Mapping[str, Any]:
        """The content if it is a table, else an empty one."""
        return self.data if isinstance(self.data, Mapping) else {}

    @property
    def command(self) -> Command | None:
        """The command line if the document is one."""
        return self.data if isinstance(self.data, Command) else None


def open_document(path: Path) -> Document:
    """Read a settings file. Its format is detected from the content, and from the suffix if that is ambiguous.

    Raises:
        UsageError: not there, a folder, or nothing that can be read as settings (with the place where it stops).
    """
    if is_folder(path):
        hint = "pass the settings file; for a folder of images use `bakehouse plan FOLDER`"
        raise UsageError(f"{path} is a folder, not a settings file", hint=hint)
    try:
        text, _, _ = decode_text(path.read_bytes())
    except FileNotFoundError as e:
        raise UsageError(f"{path} does not exist") from e
    except OSError as e:
        raise UsageError(f"cannot read {path}: {e.strerror or e}") from e
    suffix = path.suffix.lower()
    if suffix == ".ipynb":
        text = _cells(path, text)
    command = find_command(text, where=str(path), suffix=suffix) if suffix not in _DATA else None
    if command is not None:
        return Document(path, "command", command)
    if re.match(r"\s*--[A-Za-z]", text):
        raise UsageError(f"{path} contains options, but not the command they belong to", hint=_WANTED)
    if suffix in _CODE:
        raise UsageError(f"{path} contains no call of a trainer with literal arguments", hint=_WRITE_OUT)
    if suffix == ".json" or text.lstrip().startswith("{"):
        return Document(path, "json", _json(path, text))
    if suffix in (".yaml", ".yml"):
        return Document(path, "yaml", _yaml(path, text))
    if suffix == ".toml" or "=" in text:
        return Document(path, "toml", _toml(path, text))
    raise UsageError(f"{path} contains neither settings nor a trainer's command line", hint=_WANTED)


def _toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return parse_toml(text)
    except tomllib.TOMLDecodeError as e:
        raise UsageError(f"{path} is not TOML: {e}", hint=_backslash_hint(text)) from e


def _json(path: Path, text: str) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as e:
        raise UsageError(f"{path} is not JSON: {e}", hint=_backslash_hint(text)) from e


def _cells(path: Path, text: str) -> str:
    """Return the code of a notebook."""
    cells = _json(path, text).get("cells", [])
    code = [c.get("source", "") for c in cells if c.get("cell_type") == "code"]
    return "\n\n".join("".join(c) if isinstance(c, list) else str(c) for c in code)


def _yaml(path: Path, text: str) -> Any:
    try:
        return parse_yaml(text)
    except ValueError as e:
        raise UsageError(f"{path} is not YAML: {' '.join(str(e).split())}") from e


def _backslash_hint(text: str) -> str:
    """Return a hint on the usual cause: a Windows path in double quotes."""
    return r"write paths with / or \\ between double quotes" if "\\" in text else ""
