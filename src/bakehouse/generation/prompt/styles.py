"""A1111's styles.csv: prompts to add to a prompt, by name."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import BakehouseError, UsageError, did_you_mean
from bakehouse.core.message_text import listed

DEFAULT_FILE = "styles.csv"
_PLACE = "{prompt}"


@dataclass(frozen=True)
class Style:
    """A row of styles.csv."""

    name: str
    prompt: str = ""
    """`{prompt}` in it is where the prompt goes; without it, the style is added after a comma."""
    negative: str = ""


def read_styles(path: Path) -> dict[str, Style]:
    """Read a file with the columns name, prompt (in old files text) and negative_prompt.

    Rows whose name begins with `#` are comments; of two rows with one name the last counts.

    Raises:
        UsageError: there is no such file, or it lacks a column.
        BakehouseError: it is not text in UTF-8.
    """
    if not path.is_file():
        raise UsageError(f"styles file {path} does not exist", hint="write --styles FILE with A1111's styles.csv")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise BakehouseError(f"cannot read the styles file {path}: {e}", hint="save it as UTF-8") from e
    reader = csv.DictReader(text.splitlines(keepends=True), skipinitialspace=True)
    columns = reader.fieldnames or ()
    column = "prompt" if "prompt" in columns else "text"
    if "name" not in columns or column not in columns:
        raise UsageError(
            f"{path} is not a styles file: its columns are {listed(columns) or 'none'}",
            hint="the first line has to be name,prompt,negative_prompt",
        )
    rows = (Style(row["name"] or "", row[column] or "", row.get("negative_prompt") or "") for row in reader)
    return {style.name: style for style in rows if style.name and not style.name.startswith("#")}


def find_styles(path: Path, names: Sequence[str]) -> list[Style]:
    """Return styles of a file by name, in the order asked for.

    Raises:
        UsageError: an unknown name, or see `read_styles`.
    """
    known = read_styles(path)
    for name in names:
        if name not in known:
            raise UsageError(
                f"style {name!r} is not in {path}{did_you_mean(name, known)}",
                hint=f"it has {listed(list(known)) or 'no styles'}",
            )
    return [known[name] for name in names]


def with_styles(prompt: str, negative: str, styles: Sequence[Style]) -> tuple[str, str]:
    """Return prompt and negative prompt with styles applied one after another."""
    for style in styles:
        prompt, negative = _merged(style.prompt, prompt), _merged(style.negative, negative)
    return prompt, negative


def _merged(style: str, prompt: str) -> str:
    style = style.strip()
    if _PLACE in style:
        return style.replace(_PLACE, prompt.strip())
    return ", ".join(part for part in (prompt.strip(), style) if part) if style else prompt
