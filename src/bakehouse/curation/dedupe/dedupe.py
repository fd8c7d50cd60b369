"""`dataset dedupe`: keep the best copy of each image with the richest caption; keep all variants."""

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

from bakehouse.core.events import Event, Noted, Progress, Warned, result_of
from bakehouse.core.message_text import counted, listed
from bakehouse.core.settings import Spec
from bakehouse.core.thread_pool import thread_pool
from bakehouse.curation.changeset import Edit, Proposal, Remove, Write
from bakehouse.curation.dedupe.best_copy import caption_richness
from bakehouse.curation.dedupe.candidates import crop_candidates, similar_pairs
from bakehouse.curation.dedupe.grouping import DuplicateGrouping, connected_groups, partners
from bakehouse.curation.dedupe.image_difference import MatchKind
from bakehouse.curation.dedupe.image_hashes import ImageHashes, hash_file
from bakehouse.curation.dedupe.pair_matcher import FindText, MatchLimits, PairMatcher
from bakehouse.curation.dedupe.recolor_prefilter import recolored_pairs
from bakehouse.curation.open_records import mask_name
from bakehouse.curation.sidecars import remove_with_sidecars
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.masks import SHAPE_TOLERANCE
from bakehouse.data.open_image import ImageError
from bakehouse.vision.text_detection import RapidOcrDetector, TextDetector

T = TypeVar("T")
R = TypeVar("R")

_MIN_LETTERS = 4
_ROUNDING = 1.25
"""Factor by which thumbnails may differ more than the images that are compared in the end."""
NO_OCR_NOTE = (
    "text detection is not installed, so a copy with a watermark counts as a variant; "
    "pip install 'bakehouse[curate]' installs it"
)


@dataclass(frozen=True)
class DuplicateFinding:
    """A duplicate, the variants or a crop of an image, and whether it is dropped."""

    keep: ImageRecord
    other: ImageRecord
    """The duplicate or crop; of a group of variants, the first one beside `keep`."""
    kind: MatchKind
    why: str
    dropped: bool
    """Whether `other` is dropped."""
    more: tuple[ImageRecord, ...] = ()
    """The rest of a group of three or more variants."""

    @property
    def others(self) -> tuple[ImageRecord, ...]:
        """All images of the finding but `keep`."""
        return self.other, *self.more


class Dedupe(Spec):
    """Settings of `dataset dedupe`: drop all but the best copy of each image. Variants are not copies."""

    bits: int = Field(10, ge=0, le=32)
    """Most differing bits (of 64) between the hashes of two images for them to be compared."""
    limits: MatchLimits = MatchLimits()
    crops: Literal["list", "drop", "ignore"] = "list"
    """What to do with crops of other images. Both views are useful for training, so they are only listed by default."""
    crop_bits: int = Field(14, ge=0, le=32)
    """As `bits`, between an image and the windows of another one."""
    crop_colour: float = Field(14.0, ge=0, le=255)
    """Largest mean colour difference (0..255) between an image and a window for them to be compared."""
    text: Literal["auto", "off"] = "auto"
    """If two images differ in one small place, detect whether that is text over one of them, which is then dropped."""
    captions: bool = True
    """Give the richest caption among the copies to the one that is kept."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Propose to drop each inferior copy; yield notes on variants and crops that are kept."""
        findings = yield from self.find(images, self._text_finder())
        yield from _report_kept(findings)
        if self.text == "auto" and self._text_finder() is None and any(f.kind == "variant" for f in findings):
            yield Noted(message=NO_OCR_NOTE)
        dropped = [finding for finding in findings if finding.dropped]
        captions = _donors(dropped, caption_richness) if self.captions else set()
        masks = _donors(dropped, lambda record: record.mask is not None)
        for finding in dropped:
            path = finding.other.path
            note = f"; its caption goes to {finding.keep.path.name}" if path in captions else ""
            make = partial(_edits, finding, images, caption=path in captions, mask=path in masks)
            yield Proposal(images.name(path), finding.why + note, make, source=images.name(finding.keep.path))

    def findings(
        self, images: ImageSet, find_text: FindText | None = None, *, hashes: Sequence[ImageHashes] | None = None
    ) -> tuple[DuplicateFinding, ...]:
        """Return every duplicate and crop, and one finding for each group of variants, in the order of the dataset.

        Args:
            images: the dataset.
            find_text: detects text, so that of two copies the one without a watermark is kept; without it, a copy with
                a watermark is a variant.
            hashes: of the images, if they have been computed already.
        """
        return result_of(self.find(images, find_text, hashes))

    def find(
        self, images: ImageSet, find_text: FindText | None = None, hashes: Sequence[ImageHashes] | None = None
    ) -> Generator[Event, None, tuple[DuplicateFinding, ...]]:
        """Find them as `findings` does; yield progress, and warnings for images that cannot be decoded."""
        if hashes is None:
            results = yield from _in_threads(_hashes_or_error, [r.path for r in images], "hashing images")
            errors = [one for one in results if isinstance(one, ImageError)]
            yield from (Warned(message=f"skipped {error.path.name}: {error.reason}") for error in errors)
            images = replace(images, records=tuple(compress(images, (isinstance(r, ImageHashes) for r in results))))
            hashes = [one for one in results if isinstance(one, ImageHashes)]
        animated = {i for i, record in enumerate(images) if record.frames > 1}
        if animated:
            yield _not_compared(images, animated)
        # The hashes cover one frame only; animations are duplicates if their bytes are equal.
        near = similar_pairs(hashes, self.bits, self.limits.mean, _ROUNDING * self.limits.usual)
        pairs = [(i, j) for i, j in near if not {i, j} & animated or images[i].sha256 == images[j].sha256]
        recolored = [
            pair
            for pair in recolored_pairs(hashes, self.bits // 2, _ROUNDING * self.limits.recoloured, apart_from=near)
            if not set(pair) & animated
        ]
        matcher = PairMatcher(images.records, self.limits, find_text)
        grouping = DuplicateGrouping(matcher, partners(pairs), partners(recolored))
        yield from _in_threads(grouping.resolve, connected_groups(pairs + recolored), "comparing images")
        if self.crops != "ignore":
            possible = crop_candidates(hashes, self.crop_bits, self.crop_colour)
            candidates = grouping.untested_crops(one for one in possible if not set(one[:2]) & animated)
            matches = yield from _in_threads(
                lambda one: grouping.matcher.match_crop(*one), candidates, "comparing crops"
            )
            # Unchanged wholes come first: among several expressions, the crop belongs to its own.
            likeliest = sorted(
                zip(candidates, matches, strict=True), key=lambda one: (not one[1].bordered, not one[1].plain)
            )
            for (whole, part, _), found in likeliest:
                grouping.add_crop(whole, part, found, drop=self.crops == "drop")
        return _as_findings(grouping, images)

    def _text_finder(self) -> FindText | None:
        """Return the text detector if it is wanted and installed; its networks are loaded on first use."""
        if self.text == "off" or importlib.util.find_spec("rapidocr") is None:
            return None
        return _text_boxes


def _as_findings(grouping: DuplicateGrouping, images: ImageSet) -> tuple[DuplicateFinding, ...]:
    """Return the findings by the number of their first other image."""
    found = {
        (other, keep): DuplicateFinding(
            images[keep], images[other], match.kind, match.why, grouping.dropped.get(other) == keep
        )
        for (keep, other), match in grouping.matches.items()
        if match.kind != "variant"
    }
    for group in grouping.variant_groups():
        keep, other, *rest = group.members
        found[other, keep] = DuplicateFinding(
            images[keep], images[other], "variant", group.why, dropped=False, more=tuple(images[i] for i in rest)
        )
    return tuple(finding for _, finding in sorted(found.items(), key=lambda one: one[0]))


def _not_compared(images: ImageSet, animated: set[int]) -> Event:
    names = listed([images.name(images[i].path) for i in sorted(animated)])
    return Noted(message=f"animated images are kept, only identical files count as duplicates: {names}")


def _hashes_or_error(path: Path) -> ImageHashes | ImageError:
    try:
        return hash_file(path)
    except ImageError as e:
        return e


def _text_boxes(image: Image.Image) -> list[tuple[float, float, float, float]]:
    """Return the boxes of reliable text: closed eyes and open mouths are read as a letter or two."""
    return [text.box for text in _text_detector()(image) if sum(c.isalnum() for c in text.text) >= _MIN_LETTERS]


@functools.cache
def _text_detector() -> TextDetector:
    return RapidOcrDetector()


def _report_kept(findings: Sequence[DuplicateFinding]) -> Iterator[Event]:
    """Yield notes on the variants and crops that are kept."""
    for kind, word in (("variant", "variant"), ("near", "crop")):
        stay = [f for f in findings if f.kind == kind and not f.dropped]
        if stay:
            named = listed([f"{listed([r.path.name for r in f.others], 5)} (of {f.keep.path.name})" for f in stay], 5)
            count = len({record.path for f in stay for record in f.others})
            yield Noted(message=f"kept {counted(count, word)}: {named}")


def _donors(dropped: Iterable[DuplicateFinding], worth: Callable[[ImageRecord], Any]) -> set[Path]:
    """Return, for each kept image, the duplicate with the highest `worth` if that exceeds the image's own."""
    best: dict[Path, ImageRecord] = {}
    for finding in dropped:
        if finding.kind == "duplicate":
            now = best.get(finding.keep.path, finding.keep)
            best[finding.keep.path] = finding.other if worth(finding.other) > worth(now) else now
    return {record.path for keep, record in best.items() if record.path != keep}


def _in_threads(work: Callable[[T], R], things: Sequence[T], what: str) -> Generator[Event, None, list[R]]:
    """Return the results of `work` in order, yielding progress. Decoding and comparing release the GIL."""
    made: list[R] = []
    with thread_pool() as pool:
        for result in pool.map(work, things):
            made.append(result)
            yield Progress(what=what, done=len(made), total=len(things))
    return made


def _edits(finding: DuplicateFinding, images: ImageSet, *, caption: bool, mask: bool) -> Sequence[Edit]:
    """Return the edits that remove a copy, and give its caption and mask to the kept image if asked to."""
    keep, other = finding.keep, finding.other
    edits = remove_with_sidecars(other, images)
    if caption and other.caption_path is not None:
        edits += _transfer_caption(other.caption_path, keep, images)
    ratio = keep.width / keep.height * other.height / other.width
    if mask and other.mask is not None and abs(ratio - 1) <= SHAPE_TOLERANCE:
        edits.append(Write(mask_name(keep, images), other.mask.read_bytes()))
    return edits


def _transfer_caption(caption: Path, keep: ImageRecord, images: ImageSet) -> list[Edit]:
    """Return the edits that put a caption beside the kept image, in its own format, and remove the old one."""
    to = images.name(keep.path).with_suffix(caption.suffix.lower())
    edits: list[Edit] = [Write(to, caption.read_bytes())]
    if keep.caption_path is not None and images.name(keep.caption_path) != to:
        edits.append(Remove(images.name(keep.caption_path)))
    return edits
