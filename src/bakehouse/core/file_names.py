"""File names that are valid on Linux, macOS and Windows."""

from __future__ import annotations

import re

LONGEST = 100
"""Bytes in UTF-8: file systems allow 255, and a number, an extension and the mark of temporary files are appended."""
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))})
"""On Windows these names are devices, whatever the extension."""


def file_name_problem(name: str) -> str:
    """Return why a name cannot be a file name on Linux, macOS and Windows; empty if it can."""
    if found := _FORBIDDEN.search(name):
        return f'it holds {found[0]!r}; not allowed are < > : " / \\ | ? * and control characters'
    if name != name.strip() or name.endswith("."):
        return "it begins or ends with a space, or ends with a dot"
    if name.startswith("."):
        return "it begins with a dot"
    if is_reserved_name(name):
        return "Windows reserves this name for a device"
    if len(name.encode()) > LONGEST:
        return f"it is longer than {LONGEST} bytes"
    return ""


def is_reserved_name(name: str) -> bool:
    """Whether Windows reserves the name for a device: `con`, `NUL.txt`."""
    return name.partition(".")[0].rstrip().casefold() in _DEVICES


def to_file_name(text: str, fallback: str) -> str:
    """Return a file name made from any text: `zwx person` becomes `zwx-person`; `fallback` if nothing is left."""
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in text.strip())
    short = kept.encode()[:LONGEST].decode(errors="ignore").strip("-.") or fallback
    return f"{fallback}-{short}" if is_reserved_name(short) else short
