"""A page that shows what a verb would do: each image before and after, in one file that needs no other."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path, PurePosixPath

from PIL import Image

from bakehouse.core.cpu_threads import thread_pool
from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import write_html
from bakehouse.core.pluralize import counted
from bakehouse.curation.changeset import Edit, Move, Proposal, Remove, Write
from bakehouse.curation.image_io import passed_over
from bakehouse.data.captions import decode_text
from bakehouse.data.image_records import ImageSet
from bakehouse.data.open_image import EXTENSIONS, ImageError, open_image

THUMB = 320
"""Longer side of the pictures on the page, pixels."""
MOST = 400
"""So many proposals are pictured; the rest is listed in words."""

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }}
body {{ margin: 2rem auto; max-width: 76rem; padding: 0 1rem }}
section {{ border-top: 1px solid #8886; padding: .8rem 0 }}
h2 {{ font-size: 1rem; margin: 0; overflow-wrap: anywhere }} h2 span {{ font-weight: normal; opacity: .75 }}
div {{ display: flex; flex-wrap: wrap; gap: 1rem; align-items: start }}
figure {{ margin: .6rem 0 0; max-width: 100% }}
figcaption {{ font-size: .85rem; opacity: .75; max-width: 20rem; overflow-wrap: anywhere }}
img {{ background: repeating-conic-gradient(#8884 0 25%, #0000 0 50%) 0 0 / 16px 16px; max-width: 100%; height: auto }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; max-width: 34rem; margin: 0; font-size: .85rem }}
</style>
<h1>{title}</h1><p>{summary}</p>
{sections}
</html>
"""


def write_preview(
    page: Path,
    verb: str,
    images: ImageSet,
    proposals: Sequence[Proposal],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes a page of before and after for what `verb` proposes; changes nothing else.

    Raises:
        BakehouseError: a proposal failed, or the page cannot be written.
    """
    pictured = proposals[:MOST]
    sections = []
    with thread_pool() as pool:
        for section in pool.map(lambda proposal: _section(images.root, proposal), pictured):
            sections.append(section)
            if progress is not None:
                progress(len(sections), len(pictured))
    sections += [_head(proposal) for proposal in proposals[MOST:]]
    title = f"{verb}: {images.root.resolve().name}"
    summary = f"{counted(len(proposals), 'proposal')} for {counted(len(images), 'image')}. Nothing was changed."
    text = _PAGE.format(title=escape(title), summary=escape(summary), sections="\n".join(sections))
    return write_html(page, text)


def _head(proposal: Proposal) -> str:
    return f"<section><h2><bdi>{escape(str(proposal.path))}</bdi> <span>{escape(proposal.why)}</span></h2></section>"


def _section(root: Path, proposal: Proposal) -> str:
    """One proposal: each path it touches, before and after."""
    try:
        edits = proposal.make()
    except ImageError as error:
        return _head(replace(proposal, why=passed_over(proposal.path, error).message))
    figures = [figure for edit in edits for figure in _figures(root, edit)]
    return _head(proposal).replace("</section>", f"<div>{''.join(figures)}</div></section>")


def _figures(root: Path, edit: Edit) -> Iterator[str]:
    match edit:
        case Write(path, content):
            if (root / path).is_file():
                yield _figure(path, root / path, "before")
            yield _figure(path, content, "after")
        case Remove(path):
            yield _figure(path, root / path, "goes into the store")
        case Move(path, to):
            yield _figure(path, root / path, f"becomes {to}")


def _figure(path: PurePosixPath, content: bytes | Path, note: str) -> str:
    shown, facts = _picture(content) if path.suffix.lower() in EXTENSIONS else _words(content)
    said = "".join(f", {escape(part)}" for part in (facts, note) if part)
    return f"<figure>{shown}<figcaption><bdi>{escape(str(path))}</bdi>{said}</figcaption></figure>"


def _picture(content: bytes | Path) -> tuple[str, str]:
    """A thumbnail inside the page, and its size."""
    try:
        image = open_image(content, mode="RGBA") if isinstance(content, Path) else Image.open(io.BytesIO(content))
    except BakehouseError as e:
        return f"<pre>{escape(e.message)}</pre>", ""
    facts = f"{image.width} x {image.height}"
    image = image.convert("RGBA")
    image.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=82, method=4)
    data = base64.b64encode(stream.getvalue()).decode()
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img src="data:image/webp;base64,{data}" alt="" {size} loading="lazy">', facts


def _words(content: bytes | Path) -> tuple[str, str]:
    """The beginning of a text file."""
    data = content.read_bytes() if isinstance(content, Path) else content
    text = decode_text(data)[0]
    return f"<pre>{escape(text[:2000])}</pre>", ""
