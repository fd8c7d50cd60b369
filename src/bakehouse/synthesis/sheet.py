"""The page of an extension: every generated image with its caption and scores, for review."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.files import write_html
from bakehouse.core.html_pages import InlineImage, inline_image, render
from bakehouse.data.open_image import open_image
from bakehouse.synthesis.candidates import ACCEPT, SHEET, Candidate, Candidates
from bakehouse.synthesis.extension import Extension

SIDE = 384
"""Longer side of the images on the page, in pixels."""
SMALL_SIDE = 128


@dataclass(frozen=True)
class SheetImage:
    """One image on the page."""

    candidate: Candidate
    image: InlineImage
    nearest: InlineImage | None
    """The most similar image of the dataset."""


def write_sheet(candidates: Candidates, extension: Extension) -> Path:
    """Write sheet.html: what the dataset lacks, the images to answer, and those that were dropped, with the reason.

    The page needs no other file and no server: it makes the lines of accept.txt, to be saved or copied.

    Raises:
        BakehouseError: the page cannot be written.
    """
    photos = {record.path.name: record.path for record in extension.images}
    text = render(
        "bakehouse.synthesis",
        "sheet.html.j2",
        title=f"Drawn for {extension.images.root.resolve().name}",
        run=extension.run.folder.name,
        weights=f"{candidates.weights} at strength {candidates.strength:g}",
        aspects=extension.aspects,
        findings=extension.findings,
        passed=[_shown(c, candidates, photos, SIDE) for c in candidates.passed],
        dropped=[_shown(c, candidates, photos, SMALL_SIDE) for c in candidates.items if not c.passed],
        accept=ACCEPT,
        command=shlex.join(["bakehouse", "dataset", "extend", *map(str, (extension.run.folder, extension.images.root))])
        + f" --accept {shlex.quote(str(candidates.folder / ACCEPT))}",
        captions={c.name: candidates.caption_path(c).name for c in candidates.passed},
    )
    return write_html(candidates.folder / SHEET, text)


def _shown(candidate: Candidate, candidates: Candidates, photos: Mapping[str, Path], side: int) -> SheetImage:
    nearest = photos.get(candidate.nearest)
    return SheetImage(
        candidate,
        inline_image(open_image(candidates.path(candidate)), side),
        inline_image(open_image(nearest), SMALL_SIDE) if nearest is not None and candidate.passed else None,
    )
