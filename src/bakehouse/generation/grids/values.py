"""The values of an axis as text: separated by commas, quoted, from a file, or as A1111's ranges."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bakehouse.core.errors import UsageError

Ranged = Literal["whole", "decimal"]
"""Which numbers a range stands for; A1111 cuts off what is behind the point of whole ones."""
MAX_RANGE = 10_000
"""Values of one range."""

_NUMBER = r"([+-]?(?:\d+\.?\d*|\.\d+))"
_RANGE = re.compile(rf"{_NUMBER}\s*-\s*{_NUMBER}(?:\s*\(\s*([+-](?:\d+\.?\d*|\.\d+))\s*\)|\s*\[\s*(\d+)\s*\])?")


def split_values(written: str, *, ranged: Ranged | None = None) -> list[str]:
    """Return the values in `0.4, 0.8`, `"a cat, red", a dog`, `1-5 (+2)` or `@file.txt` (one on each line).

    Args:
        written: the text.
        ranged: the kind of numbers, of which `1-5` means five, `1-10 (+2)` 1, 3, 5, 7, 9 and `0-1 [5]` five evenly
            spaced ones; None: text, in which a hyphen means nothing.

    Raises:
        UsageError: a range whose step does not lead to its end, or has too many values; the file cannot be read.
    """
    if written.startswith("@"):
        return _lines(Path(written[1:]))
    parts = [part.strip() for row in csv.reader([written], skipinitialspace=True) for part in row]
    found: list[str] = []
    for part in filter(None, parts):
        match = _RANGE.fullmatch(part) if ranged is not None else None
        found.extend(_range_values(match, whole=ranged == "whole") if match else [part])
    return found


def join_values(texts: Sequence[str]) -> str:
    """Join values with commas, so that `split_values` gives them back; those with commas are quoted."""
    return ", ".join('"' + t.replace('"', '""') + '"' if any(c in t for c in ',"') or not t else t for t in texts)


def as_text(value: Any) -> str:
    """Return a value as it is written; numbers have at most eight decimals, as in A1111."""
    if isinstance(value, float):
        return f"{round(value, 8):.8f}".rstrip("0").rstrip(".")
    return str(value)


def _range_values(match: re.Match[str], *, whole: bool) -> list[str]:
    """Return the numbers of a range, both ends included."""
    first, last = float(match[1]), float(match[2])
    if match[4]:
        count = _counted(match, int(match[4]))
        numbers = [first + (last - first) * i / max(1, count - 1) for i in range(count)]
    else:
        step = float(match[3] or (1 if last >= first else -1))
        if step == 0 or (last - first) * step < 0:
            raise UsageError(f"range {match[0]!r}: a step of {step:g} does not lead from {first:g} to {last:g}")
        # Half a step's tolerance against the rounding of 0.1 + 0.1 + 0.1.
        count = _counted(match, int((last - first) / step + 1e-9) + 1)
        numbers = [first + i * step for i in range(count)]
    return [as_text(int(number + 1e-9) if whole and _is_whole(match) else number) for number in numbers]


def _is_whole(match: re.Match[str]) -> bool:
    """Return whether the ends are whole: 1.5-3 of whole numbers is left to the axis to refuse."""
    return all("." not in (match[i] or "") for i in (1, 2, 3))


def _counted(match: re.Match[str], count: int) -> int:
    if count > MAX_RANGE:
        raise UsageError(f"range {match[0]!r} has {count:,} values: allowed are {MAX_RANGE:,}")
    return count


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"cannot read {path}: {e}", hint="a file of values has one value per line") from e
