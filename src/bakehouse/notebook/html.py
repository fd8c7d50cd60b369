"""Pieces of HTML that the panels show. Text is escaped here; colours follow the notebook's scheme, light or dark."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Literal

from bakehouse.core.html_pages import inline_image
from bakehouse.core.message_text import visible
from bakehouse.data.open_image import ImageError, open_image

Kind = Literal["note", "done", "warning", "error"]
STYLE = (Path(__file__).with_name("notebook.css")).read_text("utf-8")
_THUMBNAIL = 224
"""Pixels of the longer side of a small picture, twice what is shown."""


def text(value: object) -> str:
    """Return any text as HTML."""
    return escape(visible(str(value)))


def styled(content: str) -> str:
    """Return HTML with its style: on Colab each cell is a page of its own."""
    return f"<style>{STYLE}</style><div class='bakehouse'>{content}</div>"


def message(kind: Kind, said: str, hint: str = "") -> str:
    """Return a message in a box, and below it what to do."""
    role = "alert" if kind == "error" else "status"
    lines = text(said).replace("\n", "<br>")
    below = f"<div class='bh-hint'>{text(hint).replace(chr(10), '<br>')}</div>" if hint else ""
    return f"<div class='bh-message bh-{kind}' role='{role}'>{lines}{below}</div>"


def heading(title: str, below: str) -> str:
    """Return the head of a panel."""
    return f"<div class='bh-head'><h3>{text(title)}</h3><p>{text(below)}</p></div>"


def same_as_command(commands: Iterable[Sequence[str]]) -> str:
    """Return command lines that do the same in a terminal, folded away; empty if there are none."""
    lines = "\n".join(text(shlex.join(["bakehouse", *words])) for words in commands)
    return f"<details class='bh-code'><summary>The same as a command</summary><pre>{lines}</pre></details>" * bool(
        lines
    )


def bar(what: str, share: float | None) -> str:
    """Return a bar of progress with its words; `share` from 0 to 1, None: not known."""
    width = "" if share is None else f" style='width:{100 * min(max(share, 0.0), 1.0):.1f}%'"
    state = "bh-unknown" if share is None else "bh-known"
    value = "" if share is None else f" aria-valuenow='{100 * share:.0f}'"
    name = text(what)
    return (
        f"<div class='bh-progress'><div class='bh-bar {state}' role='progressbar' aria-label='{name}'{value}>"
        f"<div{width}></div></div><span>{name}</span></div>"
    )


def picture(path: Path, *, longest: int = _THUMBNAIL, below: str = "") -> str:
    """Return a picture inside of the page; of one that cannot be read its name."""
    name = text(path.name)
    try:
        small = inline_image(open_image(path), longest)
    except (ImageError, OSError):
        shown = f"<div class='bh-missing'>{name}</div>"
    else:
        shown = f"<img src='{small.uri}' alt='{text(below) or name}' title='{name}'>"
    return f"<figure>{shown}{f'<figcaption>{text(below)}</figcaption>' if below else ''}</figure>"


def pictures(paths: Sequence[Path], most: int, *, large: bool = False) -> str:
    """Return small pictures in rows, and how many more there are."""
    size = "bh-large" if large else "bh-small"
    rest = f"<div class='bh-missing'>and {len(paths) - most:,} more</div>" if len(paths) > most else ""
    shown = "".join(picture(path, longest=640 if large else _THUMBNAIL) for path in paths[:most])
    return f"<div class='bh-pictures {size}'>{shown}{rest}</div>" if paths else ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table."""
    top = "".join(f"<th>{text(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class='bh-wide'><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def figures(values: Iterable[tuple[str, str, str]]) -> str:
    """Return figures side by side: what, how much, and a remark."""
    cells = (
        f"<div><span>{text(what)}</span><b>{text(value)}</b><span>{text(below)}</span></div>"
        for what, value, below in values
    )
    return f"<div class='bh-figures'>{''.join(cells)}</div>"


def folded(summary: str, content: str) -> str:
    """Return HTML that is shown after a click."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"
