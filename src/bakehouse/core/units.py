"""Durations, sizes and losses as text."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a duration: `8.4 s`, `95 s`, `12 min`, `3 h 20 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Return bytes: `640 kB`, `35 MB`, `1.2 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def number(value: float | None, digits: int = 4) -> str:
    """Return a loss: `0.0412`, or a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"
