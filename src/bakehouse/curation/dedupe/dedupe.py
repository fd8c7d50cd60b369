"""`dataset dedupe`: the same picture is kept once, the best copy with the richest caption; variants all stay."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, Literal, TypeVar

from PIL import Image
from pydantic import Field

from bakehouse.core.cpu_threads import thread_pool
from bakehouse.core.events import Event, Noted, Progress, Warned, result_of
from bakehouse.core.pluralize import listed
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal, Remove, Write
from bakehouse.curation.dedupe.best_copy import richness
from bakehouse.curation.dedupe.candidates import alike, crops
from bakehouse.curation.dedupe.compare import Verdict
from bakehouse.curation.dedupe.grouping import Sheet, groups
from bakehouse.curation.dedupe.image_hashes import Look, look_at
from bakehouse.curation.dedupe.pair_matcher import FindText, Judge, Limits
from bakehouse.curation.image_io import mask_name
from bakehouse.curation.sidecars import removed
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.masks import SHAPE_TOLERANCE
from bakehouse.data.open_image import ImageError
from bakehouse.vision.text_detection import RapidText, TextFinder

T = TypeVar("T")
R = TypeVar("R")

_LETTERS = 4
_ROUNDING = 1.25
"""A thumbnail differs from what is compared in the end by so much."""
UNREAD = (
    "text is not looked for, so a copy with a watermark counts as a variant: "
    "pip install 'bakehouse[curate]' brings what finds it"
)


@dataclass(frozen=True)
class Finding:
    """Two images that show the same, and what becomes of the second."""

    keep: ImageRecord
    other: ImageRecord
    verdict: Verdict
    why: str
    dropped: bool
    """The second one goes."""


class Dedupe(Spec):
    """Drops all but the best copy of each picture. Another expression or outfit is another picture."""

    bits: int = Field(10, ge=0, le=32)
    """How many of the 64 bits of a hash may differ for two pictures to be looked at side by side."""
    limits: Limits = Limits()
    crops: Literal["list", "drop", "ignore"] = "list"
    """What becomes of a picture that was cut out of another one: both views teach, so it is only listed."""
    crop_bits: int = Field(14, ge=0, le=32)
    """As `bits`, between a picture and the windows of another one."""
    crop_colour: float = Field(14.0, ge=0, le=255)
    """How far a picture's colours may be from a window's for it to be sought there, of 255."""
    text: Literal["auto", "off"] = "auto"
    """Where two pictures differ in one small place: look whether that is text over one of them, which then goes."""
    captions: bool = True
    """The richest caption among the copies goes to the one that stays."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """One proposal for each copy that goes; variants and crops that stay are told."""
        findings = yield from self.find(images, self._reader())
        yield from _staying(findings)
        if self.text == "auto" and self._reader() is None and any(f.verdict == "variant" for f in findings):
            yield Noted(message=UNREAD)
        dropped = [finding for finding in findings if finding.dropped]
        givers = _givers(dropped, richness) if self.captions else set()
        masks = _givers(dropped, lambda record: record.mask is not None)
        for finding in dropped:
            path = finding.other.path
            gets = f"; {finding.keep.path.name} gets its caption" if path in givers else ""
            make = partial(_edits, finding, images, caption=path in givers, mask=path in masks)
            yield Proposal(images.name(path), finding.why + gets, make)

    def findings(
        self, images: ImageSet, find_text: FindText | None = None, *, looks: Sequence[Look] | None = None
    ) -> tuple[Finding, ...]:
        """Every pair of images that show the same, in the order of the dataset.

        Args:
            images: of the dataset.
            find_text: finds text, so that of two copies the one without a watermark stays; without it, a copy with
                a watermark is a variant.
            looks: of the images, where they have been taken already.
        """
        return result_of(self.find(images, find_text, looks))

    def find(
        self, images: ImageSet, find_text: FindText | None = None, looks: Sequence[Look] | None = None
    ) -> Generator[Event, None, tuple[Finding, ...]]:
        """As `findings`, and says how far it is. Images that cannot be decoded are passed over, and that is said."""
        if looks is None:
            seen = yield from _in_threads(_look_or_error, [r.path for r in images], "looking for duplicates")
            bad = [one for one in seen if isinstance(one, ImageError)]
            yield from (Warned(message=f"passed over: {error.path.name}: {error.reason}") for error in bad)
            images = replace(images, records=tuple(compress(images, (isinstance(one, Look) for one in seen))))
            looks = [one for one in seen if isinstance(one, Look)]
        moving = {i for i, record in enumerate(images) if record.frames > 1}
        if moving:
            yield _not_compared(images, moving)
        # One frame says nothing of the others; but the same bytes are the same picture.
        pairs = [
            (i, j)
            for i, j in alike(looks, self.bits, self.limits.mean, _ROUNDING * self.limits.usual)
            if not {i, j} & moving or images[i].sha256 == images[j].sha256
        ]
        sheet = Sheet(Judge(images.records, self.limits, find_text), frozenset(pairs))
        yield from _in_threads(sheet.settle, groups(pairs), "comparing")
        if self.crops != "ignore":
            near = crops(looks, self.crop_bits, self.crop_colour)
            candidates = sheet.open_crops(one for one in near if not set(one[:2]) & moving)
            judged = yield from _in_threads(lambda one: sheet.judge.crop(*one), candidates, "looking for crops")
            # A whole in which nothing differs comes first: of several expressions, the crop is of its own.
            likeliest = sorted(
                zip(candidates, judged, strict=True), key=lambda one: (not one[1].bordered, not one[1].plain)
            )
            for (whole, part, _), found in likeliest:
                sheet.add_crop(whole, part, found, drop=self.crops == "drop")
        return tuple(
            Finding(images[keep], images[other], judged.verdict, judged.why, sheet.dropped.get(other) == keep)
            for (keep, other), judged in sorted(sheet.found.items(), key=lambda found: found[0][::-1])
        )

    def _reader(self) -> FindText | None:
        """What finds text, if it may and the library is installed; its networks are loaded when first asked."""
        if self.text == "off" or importlib.util.find_spec("rapidocr") is None:
            return None
        return _words


def _not_compared(images: ImageSet, moving: set[int]) -> Event:
    names = listed([images.name(images[i].path) for i in sorted(moving)], 8)
    return Noted(message=f"kept, moving pictures, of which only equal files count as copies: {names}")


def _look_or_error(path: Path) -> Look | ImageError:
    try:
        return look_at(path)
    except ImageError as e:
        return e


def _words(image: Image.Image) -> list[tuple[float, float, float, float]]:
    """Boxes of what is surely text: a closed eye or an open mouth is read as a letter or two."""
    return [text.box for text in _rapid_text()(image) if sum(c.isalnum() for c in text.words) >= _LETTERS]


@functools.cache
def _rapid_text() -> TextFinder:
    return RapidText()


def _staying(findings: Sequence[Finding]) -> Iterator[Event]:
    """Says which look-alikes stay."""
    for verdict, word in (("variant", "variant"), ("near", "crop")):
        stay = [f for f in findings if f.verdict == verdict and not f.dropped]
        if stay:
            named = listed([f"{f.other.path.name} (of {f.keep.path.name})" for f in stay], 5)
            count = len({f.other.path for f in stay})
            stays = f"stays as a {word}" if count == 1 else f"stay as {word}s"
            yield Noted(message=f"{count} {stays}: {named}")


def _givers(dropped: Iterable[Finding], worth: Callable[[ImageRecord], Any]) -> set[Path]:
    """Of each image that stays, the copy that is worth the most, if that is worth more than itself."""
    best: dict[Path, ImageRecord] = {}
    for finding in dropped:
        if finding.verdict == "duplicate":
            now = best.get(finding.keep.path, finding.keep)
            best[finding.keep.path] = finding.other if worth(finding.other) > worth(now) else now
    return {record.path for keep, record in best.items() if record.path != keep}


def _in_threads(work: Callable[[T], R], things: Sequence[T], what: str) -> Generator[Event, None, list[R]]:
    """The work on each thing, in order. Decoding and comparing run outside the interpreter's lock."""
    made: list[R] = []
    with thread_pool() as pool:
        for result in pool.map(work, things):
            made.append(result)
            yield Progress(what=what, done=len(made), total=len(things))
    return made


def _edits(finding: Finding, images: ImageSet, *, caption: bool, mask: bool) -> Sequence[Edit]:
    """A copy goes; its caption and its mask may go to the one that stays."""
    keep, other = finding.keep, finding.other
    edits = removed(other, images)
    if caption and other.caption_path is not None:
        edits += _handed_over(other.caption_path, keep, images)
    ratio = keep.width / keep.height * other.height / other.width
    if mask and other.mask is not None and abs(ratio - 1) <= SHAPE_TOLERANCE:
        edits.append(Write(mask_name(keep, images), other.mask.read_bytes()))
    return edits


def _handed_over(caption: Path, keep: ImageRecord, images: ImageSet) -> list[Edit]:
    """The caption beside the image that stays, in its own form; the old one goes if it has another name."""
    to = images.name(keep.path).with_suffix(caption.suffix.lower())
    edits: list[Edit] = [Write(to, caption.read_bytes())]
    if keep.caption_path is not None and images.name(keep.caption_path) != to:
        edits.append(Remove(images.name(keep.caption_path)))
    return edits
