"""`dataset crop`: add closer framings of each large image of a person, or the outfit without the head."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.events import Event, Noted, Progress
from bakehouse.core.files import fit_file_name
from bakehouse.core.message_text import listed
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.crops.boxes_by_hand import propose_boxes
from bakehouse.curation.crops.crop_captions import crop_caption
from bakehouse.curation.crops.crop_files import crop_stem, is_crop, make_crop
from bakehouse.curation.crops.framing import Box, Framing, crop_box, load_framing_rules
from bakehouse.curation.crops.headless import headless_box, headless_caption, load_headless_rules
from bakehouse.curation.open_records import open_on_white, open_or_skip
from bakehouse.curation.skip_animated import still_images
from bakehouse.data.buckets import BucketSpec, Placement, assign
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.vision.faces import Face, FaceDetectorKind, load_face_detector

MAX_AREA = 0.85
"""Share of the image's area above which a crop adds nothing new."""
RIVAL_HEIGHT = 0.6
"""Share of the main face's height from which a second face makes it ambiguous who the subject is."""

FramingName = Literal["cowboy_shot", "upper_body", "portrait"]


class Crop(Spec):
    """Settings of `dataset crop`: crops at several framings around the face, with matching captions."""

    framings: tuple[FramingName, ...] = ("cowboy_shot", "upper_body", "portrait")
    """Framings to add, where the image shows enough."""
    faces: FaceDetectorKind = "auto"
    """Face detector: for drawings (anime), for photos (photo), or chosen per image (auto)."""
    resolution: int = Field(512, ge=64, le=4096)
    """Training resolution, which determines how much a crop would be enlarged."""
    upscale: Annotated[float, Field(ge=0.1, le=8)] = 1.3
    """Skip crops that their bucket would enlarge by more than this factor."""
    outfit: tuple[str, ...] = ()
    """Triggers of outfits, removed from the captions of portraits, which show too little of an outfit."""
    headless: bool = False
    """Also add what lies below the chin, as images of an outfit without who wears it."""
    character: tuple[str, ...] = ()
    """Triggers of characters, removed from the captions of headless crops."""
    only: tuple[str, ...] = ()
    """Images that are cropped, by their paths in the dataset; empty: all."""
    boxes: tuple[str, ...] = ()
    """Crops by hand, in place of those around faces: `PATH:FRAMING:LEFT,TOP,RIGHT,BOTTOM` in pixels."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Propose new crops; existing images stay unchanged.

        Raises:
            UsageError: no face detector is installed, or `only` names no image.
            Problems: boxes that cannot be read, lie outside of their image, or name none.
        """
        if self.boxes:
            yield from propose_boxes(self.boxes, images, outfit=self.outfit)
            return
        events: list[Event] = []
        detector, names = load_face_detector(self.faces, events.append), {images.name(r.path) for r in images}
        yield from events
        skipped: dict[str, list[PurePosixPath]] = {}
        if unknown := [name for name in self.only if PurePosixPath(name) not in names]:
            known = [str(name) for name in names]
            raise UsageError(f"the dataset has no image {unknown[0]!r}{did_you_mean(unknown[0], known)}")
        still = yield from still_images(images)
        wanted = [record for record in still if not self.only or str(images.name(record.path)) in self.only]
        for done, record in enumerate(wanted, 1):
            name = images.name(record.path)
            if not is_crop(name, names):
                image = yield from open_or_skip(record, images, open_on_white)
                if image is None:
                    continue
                faces = detector(image)
                if reason := why_ambiguous(faces) or self._too_small(record, faces[0]):
                    skipped.setdefault(reason, []).append(name)
                else:
                    yield from self._crop_proposals(record, images, faces[0], names)
                if self.headless and not why_ambiguous(faces):
                    if (box := headless_box(faces[0], (record.width, record.height), load_headless_rules())) is None:
                        skipped.setdefault("too little below the chin", []).append(name)
                    else:
                        yield from self._headless_proposals(record, images, box, names)
            yield Progress(what="detecting faces", done=done, total=len(wanted))
        for reason, left in skipped.items():
            yield Noted(message=f"not cropped, {reason}: {listed(left)}")

    def _crop_proposals(
        self, record: ImageRecord, images: ImageSet, face: Face, names: set[PurePosixPath]
    ) -> Iterator[Proposal]:
        name = images.name(record.path)
        for framing, box, placement in self.crops(record, face):
            to = name.with_name(fit_file_name(crop_stem(name, names), f"-{framing.name}.png"))
            if to in names:
                continue
            size = f"{box[2] - box[0]} x {box[3] - box[1]} pixels"
            why = f"{framing.tag}: {size}, face height {face.height:.0f}, scaled x{placement.scale:.2f} by its bucket"
            rules = load_framing_rules()
            captions = [crop_caption(line, framing, rules, outfit=self.outfit) for line in record.captions]
            yield Proposal(to, why, partial(make_crop, record, images, box, captions, to), source=name, box=box)

    def _headless_proposals(
        self, record: ImageRecord, images: ImageSet, box: Box, names: set[PurePosixPath]
    ) -> Iterator[Proposal]:
        name, rules = images.name(record.path), load_headless_rules()
        to = name.with_name(fit_file_name(crop_stem(name, names), f"-{rules.name}.png"))
        if to not in names:
            why = f"{rules.tag}: {box[2] - box[0]} x {box[3] - box[1]} pixels below the chin"
            captions = [
                headless_caption(line, rules, load_framing_rules(), characters=self.character)
                for line in record.captions
            ]
            yield Proposal(to, why, partial(make_crop, record, images, box, captions, to), source=name, box=box)

    def crops(self, record: ImageRecord, face: Face) -> Iterator[tuple[Framing, Box, Placement]]:
        """Yield the crops of an image around a face that are large enough, with their bucket placements."""
        return (crop for crop in self._closer_framings(record, face) if crop[2].scale <= self.upscale)

    def _closer_framings(self, record: ImageRecord, face: Face) -> Iterator[tuple[Framing, Box, Placement]]:
        """Yield the crops around a face that show less than the image, whatever their size in pixels."""
        rules, buckets = load_framing_rules(), BucketSpec(resolution=self.resolution)
        for framing in rules.framing:
            box = crop_box(face, (record.width, record.height), framing, rules)
            if box is None or framing.name not in self.framings:
                continue
            width, height = box[2] - box[0], box[3] - box[1]
            if width * height <= MAX_AREA * record.width * record.height:
                yield framing, box, assign([(width, height)], buckets)[0]

    def _too_small(self, record: ImageRecord, face: Face) -> str:
        """Return why all closer framings are too small to use; empty if one is usable or the image has none."""
        scales = [placement.scale for _, _, placement in self._closer_framings(record, face)]
        if not scales or min(scales) <= self.upscale:
            return ""
        return (
            f"face too small: at {self.resolution} pixels a crop would be enlarged more than "
            f"{self.upscale:g} times (run bakehouse dataset upscale first, or raise --upscale)"
        )


def why_ambiguous(faces: list[Face]) -> str:
    """Return why it is unclear which face to crop around, or an empty string."""
    if not faces:
        return "no face found"
    rivals = [face for face in faces[1:] if face.height >= RIVAL_HEIGHT * faces[0].height]
    return "several faces of similar size" if rivals else ""
