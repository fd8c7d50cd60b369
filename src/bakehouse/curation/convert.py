"""Every image as a PNG that every trainer reads the same way: upright, 8-bit, sRGB, named by what it is."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from PIL import Image
from pydantic import Field

from bakehouse.core.files import fit_file_name
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal, Write
from bakehouse.curation.frame_selection import ALIKE, distinct, frames
from bakehouse.curation.image_io import opened
from bakehouse.curation.output_images import Names, caption_copy, png, replaced, shared_captions
from bakehouse.curation.sidecars import moved
from bakehouse.data.image_header import ImageHeader, read_image_header
from bakehouse.data.image_records import ImageRecord, ImageSet

_ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tiff", "JPEG2000": ".jp2", "HEIF": ".heic", "DIB": ".bmp"}
_SAME = (
    *({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"}, {".tif", ".tiff"}, {".heic", ".heif", ".hif"}, {".png", ".apng"}),
    *({".avif", ".avifs"}, {".ppm", ".pgm", ".pbm", ".pnm"}, {".jp2", ".j2k"}, {".bmp", ".dib"}),
)


class Convert(Spec):
    """Images as PNG, without loss: what a decoder gives is what is written."""

    names_only: bool = False
    """Only mends wrong extensions; contents stay as they are."""
    frames: Literal["first", "distinct", "all"] = "first"
    """Of an animation: the first, those that differ, or every one."""
    alike: float = Field(ALIKE, ge=0, le=255)
    """Frames of which no field differs by more (of 255) show the same."""

    def propose(self, images: ImageSet) -> Iterator[Proposal]:
        """Images that are no plain PNG, or not named so."""
        names = Names(images)
        for record in images:
            found = read_image_header(record.path)
            kept = ", of which the first is kept (--frames distinct keeps those that differ)"
            kept = kept if self.frames == "first" else ""
            why = _wrong_name(record.path, found.format) if self.names_only else _odd(record.path, found, kept)
            if not why:
                continue
            name = names.claim(record, _ending(found.format) if self.names_only else ".png")
            edits = functools.partial(self._renamed if self.names_only else self._converted, record, images, name)
            yield Proposal(images.name(record.path), why, edits)

    def _renamed(self, record: ImageRecord, images: ImageSet, to: PurePosixPath) -> Sequence[Edit]:
        return [*moved(record, images, to), *shared_captions(record, images, to)]

    def _converted(self, record: ImageRecord, images: ImageSet, to: PurePosixPath) -> Sequence[Edit]:
        first, *more = self._pictures(record)
        edits = replaced(record, images, to, first[1])
        for index, image in more:
            name = to.with_name(fit_file_name(to.stem, f"-{index + 1:04d}.png"))
            edits.append(Write(name, png(image)))
            if record.caption_path is not None:
                edits.append(caption_copy(record.caption_path, name))
        return edits

    def _pictures(self, record: ImageRecord) -> list[tuple[int, Image.Image]]:
        """What is kept of a file, with the number of the frame."""
        if self.frames == "all":
            return list(enumerate(frames(record.path)))
        if self.frames == "distinct":
            return [(f.index, f.image) for f in distinct(frames(record.path), alike=self.alike)]
        return [(0, opened(record))]


def _ending(kind: str) -> str:
    return _ENDINGS.get(kind, f".{kind.lower()}")


def _wrong_name(path: Path, kind: str) -> str:
    """Why a name is wrong, or an empty string."""
    right, suffix = _ending(kind), path.suffix.lower()
    if suffix == right or any({suffix, right} <= same for same in _SAME):
        return ""
    return f"it is {kind}, not {suffix}" if suffix else f"it is {kind} and has no extension"


def _odd(path: Path, found: ImageHeader, kept: str) -> str:
    """What keeps an image from being a plain PNG, or an empty string; `kept` says what becomes of several frames."""
    wrong_name = _wrong_name(path, found.format)
    reasons = [
        (bool(wrong_name), wrong_name),
        (not wrong_name and path.suffix.lower() != ".png", f"{found.format}, not PNG"),
        (found.orientation != 1, f"turned by EXIF orientation {found.orientation}"),
        (not found.srgb, f"colours in {found.profile}"),
        (found.deep or found.mode == "CMYK", f"pixels stored as {found.mode}"),
        (found.frames > 1, f"{found.frames} frames{kept}"),
    ]
    return ", ".join(reason for wrong, reason in reasons if wrong)
