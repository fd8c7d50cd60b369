"""Names that become names of files, on every system."""

from __future__ import annotations

import re

LONGEST = 100
"""Bytes in UTF-8: file systems take 255, and a number, an ending and a mark of half-written files come behind."""
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))})
"""Windows opens a device under these names, whatever the ending."""


def file_name_problem(name: str) -> str:
    """Why a name cannot be a plain file name on Linux, macOS and Windows; empty where it can."""
    if found := _FORBIDDEN.search(name):
        return f'it holds {found[0]!r}; not allowed are < > : " / \\ | ? * and control characters'
    if name != name.strip() or name.endswith("."):
        return "it begins or ends with a space, or ends with a dot"
    if name.startswith("."):
        return "it begins with a dot"
    if is_reserved_name(name):
        return "Windows keeps this name for a device"
    if len(name.encode()) > LONGEST:
        return f"it is longer than {LONGEST} bytes"
    return ""


def is_reserved_name(name: str) -> bool:
    """Whether Windows takes it for a device: `con`, `NUL.txt`."""
    return name.partition(".")[0].rstrip().casefold() in _DEVICES


def to_file_name(words: str, otherwise: str) -> str:
    """A plain file name made of any text: `zwx person` becomes `zwx-person`; `otherwise` where nothing is left."""
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in words.strip())
    short = kept.encode()[:LONGEST].decode(errors="ignore").strip("-.") or otherwise
    return f"{otherwise}-{short}" if is_reserved_name(short) else short
