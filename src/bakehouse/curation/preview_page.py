"""Write an HTML page of an operation's proposals: each file before and after, in one file that needs no other."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import Image

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import write_html
from bakehouse.core.html_pages import InlineImage, inline_image, render
from bakehouse.core.thread_pool import thread_pool
from bakehouse.curation.changeset import Edit, Move, Proposal, Remove, Write
from bakehouse.curation.open_records import skip_warning
from bakehouse.data.captions import decode_text
from bakehouse.data.image_records import ImageSet
from bakehouse.data.open_image import EXTENSIONS, ImageError, open_image

THUMBNAIL_SIDE = 320
"""Longer side of the page's images in pixels."""
MAX_WITH_IMAGES = 400
"""Proposals beyond this number are listed without images."""
_MAX_TEXT = 2000
"""Characters of a text file on the page."""


@dataclass(frozen=True)
class FileVersion:
    """A file as it is now or as the operation would leave it: an image or the beginning of a text."""

    path: PurePosixPath
    note: str
    """Size and what becomes of the file: `96 x 64, before`."""
    image: InlineImage | None = None
    text: str = ""


@dataclass(frozen=True)
class Entry:
    """One proposal on the page; without versions it is only listed."""

    path: PurePosixPath
    why: str
    versions: tuple[FileVersion, ...] = ()


def write_preview(
    page: Path,
    operation: str,
    images: ImageSet,
    proposals: Sequence[Proposal],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a page with each file that `proposals` change, before and after; the dataset is only read.

    Args:
        page: the file to write.
        operation: name of the operation, for the title.
        images: the dataset.
        proposals: what the operation would do.
        progress: called with (done, total) after each proposal with images.

    Raises:
        BakehouseError: a proposal failed, or the page cannot be written.
    """
    with_images = proposals[:MAX_WITH_IMAGES]
    entries = []
    with thread_pool() as pool:
        for entry in pool.map(partial(_entry, images.root), with_images):
            entries.append(entry)
            if progress is not None:
                progress(len(entries), len(with_images))
    entries += [Entry(proposal.path, proposal.why) for proposal in proposals[MAX_WITH_IMAGES:]]
    title = f"{operation}: {images.root.resolve().name}"
    text = render(
        "bakehouse.curation",
        "preview_page.html.j2",
        title=title,
        total=len(proposals),
        images=len(images),
        entries=entries,
    )
    return write_html(page, text)


def _entry(root: Path, proposal: Proposal) -> Entry:
    """Return a proposal with every file that it touches, before and after."""
    try:
        edits = proposal.make_edits()
    except ImageError as error:
        return Entry(proposal.path, skip_warning(proposal.path, error).message)
    return Entry(proposal.path, proposal.why, tuple(version for edit in edits for version in _versions(root, edit)))


def _versions(root: Path, edit: Edit) -> Iterator[FileVersion]:
    match edit:
        case Write(path, content):
            if (root / path).is_file():
                yield _version(path, root / path, "before")
            yield _version(path, content, "after")
        case Remove(path):
            yield _version(path, root / path, "removed")
        case Move(path, to):
            yield _version(path, root / path, f"renamed to {to}")


def _version(path: PurePosixPath, content: bytes | Path, note: str) -> FileVersion:
    if path.suffix.lower() not in EXTENSIONS:
        data = content.read_bytes() if isinstance(content, Path) else content
        return FileVersion(path, note, text=decode_text(data)[0][:_MAX_TEXT])
    try:
        image = open_image(content, mode="RGBA") if isinstance(content, Path) else Image.open(io.BytesIO(content))
    except BakehouseError as e:
        return FileVersion(path, note, text=e.message)
    size = f"{image.width} x {image.height}"
    return FileVersion(path, f"{size}, {note}", inline_image(image.convert("RGBA"), THUMBNAIL_SIDE))
