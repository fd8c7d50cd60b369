"""`dataset extend --accept`: add accepted images to the dataset, as a step that can be undone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import ClassVar

from bakehouse.core.events import Event, Noted
from bakehouse.core.message_text import listed
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal, Write
from bakehouse.data.compile_captions import RAW_SUFFIX, raw_path
from bakehouse.data.image_records import ImageSet
from bakehouse.synthesis.candidates import Candidate, Candidates, read_accept

ALL = "all"


class AddDrawn(Spec):
    """Settings of the step that adds drawn images to a dataset."""

    command: ClassVar[str] = "extend"

    candidates: Path
    """The folder of the drawn images."""
    accepted: tuple[str, ...]
    """Names of those to add."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Propose to add each accepted image with its caption; those that are there already are left out.

        Raises:
            UsageError: the folder holds no drawn images.
            BakehouseError: its record is damaged.
        """
        found = Candidates.load(self.candidates)
        there = {images.name(record.path) for record in images}
        has_raw = sum(raw_path(record).is_file() for record in images) > len(images) / 2
        present = []
        for candidate in (c for c in found.items if c.name in self.accepted):
            to = name_in_dataset(self.candidates, candidate)
            if to in there:
                present.append(to)
                continue
            score = "" if candidate.fidelity is None else f", subject {candidate.fidelity:.2f}"
            why = f"drawn by {Path(found.weights).name}{score}: {candidate.prompt}"
            yield Proposal(to, why, partial(_edits, found, candidate, to, with_raw=has_raw))
        if present:
            yield Noted(message=f"in the dataset already: {listed(present)}")


def accept(answer: str, folder: Path | None = None) -> AddDrawn:
    """Return the step that adds what a person accepted.

    Args:
        answer: `all`, or the path of an accept.txt beside the drawn images.
        folder: of the drawn images, for `all`.

    Raises:
        UsageError: there is no such file, or no images were drawn beside it.
        Problems: the file has lines that are no answers, or that name no image.
    """
    if answer == ALL and folder is not None:
        found = Candidates.load(folder)
        accepted = found.passed
    else:
        path = Path(answer).expanduser()
        found = Candidates.load(path.resolve().parent)
        accepted = read_accept(path, found)
    return AddDrawn(candidates=found.folder.resolve(), accepted=tuple(c.name for c in accepted))


def name_in_dataset(folder: Path, candidate: Candidate) -> PurePosixPath:
    """Return the name that a drawn image of a folder gets in the dataset."""
    return PurePosixPath(f"drawn-{folder.resolve().name}-{candidate.name}")


def _edits(found: Candidates, candidate: Candidate, to: PurePosixPath, *, with_raw: bool) -> list[Edit]:
    caption = found.caption_path(candidate)
    text = caption.read_bytes() if caption.is_file() else f"{candidate.prompt}\n".encode()
    edits: list[Edit] = [Write(to, found.path(candidate).read_bytes()), Write(to.with_suffix(".txt"), text)]
    return [*edits, Write(to.with_suffix(RAW_SUFFIX), text)] if with_raw else edits
