"""Parsing JSON, TOML and YAML of any origin: each parser raises one type of exception, whatever is wrong."""

from __future__ import annotations

import csv
import json
import tomllib
from typing import Any

MOST_NESTED = 100
"""Levels of lists and tables. Files of trainers have far fewer; more could overflow Python's stack later."""
_TOO_DEEP = f"its lists or tables are nested more than {MOST_NESTED} deep"


csv.field_size_limit((1 << 31) - 1)  # Python's default limit is 131,072 characters


def parse_json(text: str | bytes, *, strict: bool = True) -> Any:
    """Return a JSON document as Python values.

    Args:
        text: bytes are UTF-8, UTF-16 or UTF-32.
        strict: refuse raw control characters in strings.

    Raises:
        json.JSONDecodeError: it is not JSON, not text, nested too deeply, or has numbers of thousands of digits.
    """
    try:
        value = json.loads(text, strict=strict)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError(_TOO_DEEP, "", 0) from None
    except ValueError as e:
        raise json.JSONDecodeError(str(e), "", 0) from e
    if _is_deep(value):
        raise json.JSONDecodeError(_TOO_DEEP, "", 0)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Return a TOML document as Python values.

    Raises:
        tomllib.TOMLDecodeError: it is not TOML, nested too deeply, or has numbers of thousands of digits.
    """
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError(_TOO_DEEP) from None
    except ValueError as e:
        raise tomllib.TOMLDecodeError(str(e)) from e
    if _is_deep(value):
        raise tomllib.TOMLDecodeError(_TOO_DEEP)
    return value


def parse_yaml(text: str) -> Any:
    """Return a YAML document as Python values.

    Raises:
        ValueError: it is not YAML, nested too deeply, or has impossible dates or numbers.
    """
    import yaml  # type: ignore[import-untyped]

    try:
        value = yaml.safe_load(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except (yaml.YAMLError, TypeError, OverflowError) as e:
        raise ValueError(str(e)) from e
    if _is_deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def _is_deep(value: Any) -> bool:
    """Whether lists and tables are nested too deeply; level by level, since recursion would overflow the stack."""
    level = [value]
    for _ in range(MOST_NESTED):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
