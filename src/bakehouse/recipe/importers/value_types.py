"""Values of settings files as typed values: `"true"` as a flag, `"5%"` as a number, paths that exist."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from bakehouse.core.errors import UsageError

Kind = Literal["flag", "int", "float", "text", "path", "list", "table", "tables", "any"]

COMPOUND = ("list", "table", "tables", "any")
"""Kinds whose values have parts. For the other kinds, a list of one value is that value."""
UNREADABLE = (ValueError, TypeError, ArithmeticError, SyntaxError)
"""What reading a value of the wrong type raises."""
DESCRIPTIONS: Mapping[Kind, str] = {
    "flag": "true or false",
    "int": "a whole number",
    "float": "a number",
    "text": "text",
    "path": "text",
    "list": "a list",
    "table": "a table",
    "tables": "a list of tables",
    "any": "something else",
}
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def parse_value(value: Any, kind: Kind) -> Any:
    """Return a value as its kind, parsed where it is text.

    Raises:
        ValueError: the value cannot be of that kind.
    """
    if kind not in COMPOUND:
        value = _single(value)
    match kind:
        case "flag":
            return value if isinstance(value, bool) else _flag(str(value))
        case "int":
            return _whole(value)
        case "float":
            return float(str(value).strip().removesuffix("%")) / (100 if str(value).strip().endswith("%") else 1)
        case "text" | "path":
            return str(value)
        case "list":
            return list(value) if isinstance(value, (list, tuple)) else [value]
        case "table":
            return _checked(value, isinstance(value, Mapping))
        case "tables":
            return _checked(value, isinstance(value, list) and all(isinstance(x, Mapping) for x in value))
        case "any":
            return value


def table_entry(table: Mapping[str, Any], name: str, kind: Kind, default: Any, where: str) -> Any:
    """Return the value of a nested table as its kind; the default where it is absent or null.

    Args:
        where: the table's key, for the message.

    Raises:
        UsageError: the value cannot be of that kind.
    """
    value = table.get(name)
    if value is None:
        return default
    try:
        return parse_value(value, kind)
    except UNREADABLE as e:
        raise UsageError(f"{where}: {name} = {value!r}", hint=f"expected {DESCRIPTIONS[kind]}") from e


def _checked(value: Any, valid: bool) -> Any:
    if not valid:
        raise ValueError(value)
    return value


def _single(value: Any) -> Any:
    if not isinstance(value, (list, tuple, dict)):
        return value
    if isinstance(value, dict) or len(value) != 1:
        raise ValueError(value)
    return value[0]


def _flag(text: str) -> bool:
    if text.strip().lower() not in _FLAGS:
        raise ValueError(text)
    return _FLAGS[text.strip().lower()]


def _whole(value: Any) -> int:
    with contextlib.suppress(ValueError):
        return int(str(value))  # exact, however long
    number = float(value)
    if not number.is_integer():
        raise ValueError(value)
    return int(number)


def python_literal(text: Any) -> Any:
    """Return `0.9,0.99` and `True` as Python values, as kohya reads them; other text stays text."""
    if not isinstance(text, str):
        return text
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.strip().lower(), text.strip())
    return list(value) if isinstance(value, tuple) else value


def existing_path(text: str, folder: Path) -> Path | None:
    """Return a path relative to the settings' folder or to the working directory; None if it exists in neither."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # too long, or not a path at all
        for path in (folder / Path(text).expanduser(), Path(text).expanduser()):
            if path.exists():
                return path.resolve()
    return None


def is_folder(path: Path) -> bool:
    """Whether the folder exists; False for text that is no valid path."""
    with contextlib.suppress(OSError, ValueError):
        return path.is_dir()
    return False
