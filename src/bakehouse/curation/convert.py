"""`dataset convert`: turn images into plain PNG files (upright, 8-bit, sRGB) with the right extension."""

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
from bakehouse.curation.frame_selection import MAX_DIFFERENCE, distinct_frames, read_frames
from bakehouse.curation.open_records import open_record
from bakehouse.curation.output_images import OutputNames, copy_caption, copy_shared_caption, encode_png, replace_image
from bakehouse.curation.sidecars import move_with_sidecars
from bakehouse.data.image_header import ImageHeader, read_image_header
from bakehouse.data.image_records import ImageRecord, ImageSet

_EXTENSIONS = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tiff", "JPEG2000": ".jp2", "HEIF": ".heic", "DIB": ".bmp"}
_EQUIVALENT_EXTENSIONS = (
    *({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"}, {".tif", ".tiff"}, {".heic", ".heif", ".hif"}, {".png", ".apng"}),
    *({".avif", ".avifs"}, {".ppm", ".pgm", ".pbm", ".pnm"}, {".jp2", ".j2k"}, {".bmp", ".dib"}),
)
_FIRST_KEPT = ", only the first is kept (--frames distinct keeps those that differ)"


class Convert(Spec):
    """Settings of `dataset convert`. Conversion is lossless: the decoded pixels are written."""

    names_only: bool = False
    """Only correct wrong extensions; contents stay unchanged."""
    frames: Literal["first", "distinct", "all"] = "first"
    """Frames of an animation to keep: the first, those that differ, or all."""
    alike: float = Field(MAX_DIFFERENCE, ge=0, le=255)
    """Largest difference (0..255) at which two frames count as the same; see `frame_selection`."""

    def propose(self, images: ImageSet) -> Iterator[Proposal]:
        """Propose a conversion for each image that is not a plain PNG or has a wrong extension."""
        names = OutputNames(images)
        for record in images:
            found = read_image_header(record.path)
            if self.names_only:
                why = _wrong_name(record.path, found.format)
            else:
                why = _conversion_reasons(record.path, found, _FIRST_KEPT if self.frames == "first" else "")
            if not why:
                continue
            name = names.claim(record, _extension_for(found.format) if self.names_only else ".png")
            edits = functools.partial(self._renamed if self.names_only else self._converted, record, images, name)
            yield Proposal(images.name(record.path), why, edits)

    def _renamed(self, record: ImageRecord, images: ImageSet, to: PurePosixPath) -> Sequence[Edit]:
        return [*move_with_sidecars(record, images, to), *copy_shared_caption(record, images, to)]

    def _converted(self, record: ImageRecord, images: ImageSet, to: PurePosixPath) -> Sequence[Edit]:
        first, *more = self._frames_to_keep(record)
        edits = replace_image(record, images, to, first[1])
        for index, image in more:
            name = to.with_name(fit_file_name(to.stem, f"-{index + 1:04d}.png"))
            edits.append(Write(name, encode_png(image)))
            if record.caption_path is not None:
                edits.append(copy_caption(record.caption_path, name))
        return edits

    def _frames_to_keep(self, record: ImageRecord) -> list[tuple[int, Image.Image]]:
        """Return the frames to keep with their numbers."""
        if self.frames == "all":
            return list(enumerate(read_frames(record.path)))
        if self.frames == "distinct":
            return [(f.index, f.image) for f in distinct_frames(read_frames(record.path), alike=self.alike)]
        return [(0, open_record(record))]


def _extension_for(kind: str) -> str:
    return _EXTENSIONS.get(kind, f".{kind.lower()}")


def _wrong_name(path: Path, kind: str) -> str:
    """Return why an extension is wrong, or an empty string."""
    right, suffix = _extension_for(kind), path.suffix.lower()
    if suffix == right or any({suffix, right} <= same for same in _EQUIVALENT_EXTENSIONS):
        return ""
    return f"format is {kind}, extension is {suffix}" if suffix else f"format is {kind}, no extension"


def _conversion_reasons(path: Path, found: ImageHeader, frames_note: str) -> str:
    """Return why an image is not a plain PNG, or an empty string; `frames_note` follows the number of frames."""
    wrong_name = _wrong_name(path, found.format)
    reasons = [
        (bool(wrong_name), wrong_name),
        (not wrong_name and path.suffix.lower() != ".png", f"{found.format}, not PNG"),
        (found.orientation != 1, f"rotated by EXIF orientation {found.orientation}"),
        (not found.srgb, f"colour profile {found.profile}, not sRGB"),
        (found.deep or found.mode == "CMYK", f"pixels stored as {found.mode}"),
        (found.frames > 1, f"{found.frames} frames{frames_note}"),
    ]
    return ", ".join(reason for wrong, reason in reasons if wrong)
