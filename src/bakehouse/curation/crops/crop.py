"""`dataset crop`: from one large image of a person, its cowboy shot, upper body and portrait."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from bakehouse.core.events import Event, Noted, Progress
from bakehouse.core.files import fit_file_name
from bakehouse.core.pluralize import listed
from bakehouse.core.settings import Spec
from bakehouse.curation.animated_images import stills
from bakehouse.curation.changeset import Edit, Proposal, Write
from bakehouse.curation.crops.crop_captions import follow
from bakehouse.curation.crops.framing import Box, Framing, crop_box, shipped_rules
from bakehouse.curation.image_io import mask_name, opened, opened_flat, tried
from bakehouse.curation.output_images import png
from bakehouse.data.buckets import BucketSpec, Placement, assign
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image
from bakehouse.vision.faces import Face, FinderKind, open_finder

NEW = 0.85
"""Of the image's area: a crop that shows more is the image over again."""
RIVAL = 0.6
"""Of the main face's height: with a second face as high as this, nobody knows whose picture it is."""

FramingName = Literal["cowboy_shot", "upper_body", "portrait"]


class Crop(Spec):
    """Crops at several distances from the face, each with a caption that is true of it."""

    framings: tuple[FramingName, ...] = ("cowboy_shot", "upper_body", "portrait")
    """Which crops to make, where the image has them."""
    faces: FinderKind = "auto"
    """How faces are found: as in drawings (anime), as in photos (photo), or one after the other (auto)."""
    resolution: int = Field(512, ge=64, le=4096)
    """What will be trained at: decides how much a crop would be enlarged."""
    upscale: Annotated[float, Field(ge=0.1, le=8)] = 1.3
    """A crop that its bucket would enlarge more than this is not made."""
    outfit: tuple[str, ...] = ()
    """Triggers of outfits: portraits end above the heart, and their captions lose these."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """One proposal for each crop; the images themselves stay as they are.

        Raises:
            UsageError: no finder of faces is on this machine.
        """
        noted: list[Event] = []
        finder, taken = open_finder(self.faces, noted.append), {images.name(r.path) for r in images}
        yield from noted
        told: dict[str, list[str]] = {}
        still = yield from stills(images)
        for done, record in enumerate(still, 1):
            name = images.name(record.path)
            if not _is_crop(name, taken):
                image = yield from tried(record, images, opened_flat)
                if image is None:
                    continue
                faces = finder(image)
                if reason := unclear(faces) or self._too_small(record, faces[0]):
                    told.setdefault(reason, []).append(str(name))
                else:
                    yield from self._of(record, images, faces[0], taken)
            yield Progress(what="looking for faces", done=done, total=len(still))
        for reason, names in told.items():
            yield Noted(message=f"not cropped, {reason}: {listed(names, 8)}")

    def _of(self, record: ImageRecord, images: ImageSet, face: Face, taken: set[PurePosixPath]) -> Iterator[Proposal]:
        name = images.name(record.path)
        for framing, box, placement in self.crops(record, face):
            to = name.with_name(fit_file_name(_base(name, taken), f"-{framing.name}.png"))
            if to in taken:
                continue
            size = f"{box[2] - box[0]} x {box[3] - box[1]} pixels"
            why = f"{framing.tag}: {size} around a face of {face.height:.0f}, x{placement.scale:.2f} in its bucket"
            make = partial(self._make, record, images, framing, box, to)
            yield Proposal(to, why, make)

    def crops(self, record: ImageRecord, face: Face) -> Iterator[tuple[Framing, Box, Placement]]:
        """The crops that an image has around a face and that are worth making, with how each comes into its bucket."""
        return (crop for crop in self._nearer(record, face) if crop[2].scale <= self.upscale)

    def _nearer(self, record: ImageRecord, face: Face) -> Iterator[tuple[Framing, Box, Placement]]:
        """The crops around a face that show less than the image, however few pixels they have."""
        rules, buckets = shipped_rules(), BucketSpec(resolution=self.resolution)
        for framing in rules.framing:
            box = crop_box(face, (record.width, record.height), framing, rules)
            if box is None or framing.name not in self.framings:
                continue
            width, height = box[2] - box[0], box[3] - box[1]
            if width * height <= NEW * record.width * record.height:
                yield framing, box, assign([(width, height)], buckets)[0]

    def _too_small(self, record: ImageRecord, face: Face) -> str:
        """Why an image has no crop though it has nearer views; empty where it has one, or none is nearer."""
        scales = [placement.scale for _, _, placement in self._nearer(record, face)]
        if not scales or min(scales) <= self.upscale:
            return ""
        return (
            f"a face too small for a crop at {self.resolution} pixels, which would be enlarged more than "
            f"{self.upscale:g} times (bakehouse dataset upscale comes first, or --upscale allows more)"
        )

    def _make(self, record: ImageRecord, images: ImageSet, framing: Framing, box: Box, to: PurePosixPath) -> list[Edit]:
        """The crop, its caption and its mask."""
        edits: list[Edit] = [Write(to, png(opened(record).crop(box)))]
        if record.captions:
            rules = shipped_rules()
            lines = [follow(line, framing, rules, outfit=self.outfit) for line in record.captions]
            edits.append(Write(to.with_suffix(".txt"), ("\n".join(lines) + "\n").encode("utf-8")))
        if record.mask is not None:
            whole = open_image(record.mask, background=(0, 0, 0)).convert("L").resize((record.width, record.height))
            edits.append(Write(mask_name(record, images, to), png(whole.crop(box))))
        return edits


def unclear(faces: list[Face]) -> str:
    """Why nobody can say what to crop around; empty where it is clear."""
    if not faces:
        return "no face found"
    rivals = [face for face in faces[1:] if face.height >= RIVAL * faces[0].height]
    return "several faces of one size" if rivals else ""


def _base(name: PurePosixPath, names: set[PurePosixPath]) -> str:
    """What an image's crops are called after: its stem, or `a-jpg` where `a.jpg` shares it with `a.png`."""
    shared = any(other.with_suffix("") == name.with_suffix("") for other in names - {name})
    return f"{name.stem}-{name.suffix[1:]}" if shared else name.stem


def _is_crop(name: PurePosixPath, names: set[PurePosixPath]) -> bool:
    """Whether an image is a crop that was made before, beside the image it is of."""
    endings = [f"-{framing.name}" for framing in shipped_rules().framing]
    base = next((name.stem.removesuffix(ending) for ending in endings if name.stem.endswith(ending)), None)
    return base is not None and any(n.parent == name.parent and base == _base(n, names) for n in names)
