"""`dataset clean`: writing painted over or left out of the loss; faces of other people blurred."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Noted, Progress, Warned
from bakehouse.core.model_catalogue import model_path
from bakehouse.core.pluralize import counted, listed
from bakehouse.core.settings import Spec
from bakehouse.curation.animated_images import stills
from bakehouse.curation.changeset import Edit, Proposal
from bakehouse.curation.clean.background_fill import VISIBLE, Bytes, letter_mask, paint, text_mask, visibility
from bakehouse.curation.clean.blur_faces import faceless
from bakehouse.curation.image_io import opened, opened_flat, tried
from bakehouse.curation.output_images import Names, masked, replaced
from bakehouse.data.buckets import unchanged_placement
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.masks import load_mask
from bakehouse.vision.faces import Face, FaceFinder, FinderKind, open_finder
from bakehouse.vision.inpainting import Inpainter
from bakehouse.vision.text_detection import RapidText, Text, TextKind, classified, marked

KINDS: tuple[TextKind, ...] = ("url", "watermark", "signature", "bubble")

Lines = list[list[Text]]
"""For each image."""


@dataclass(frozen=True)
class Findings:
    """What is to go from one image."""

    smooth: tuple[Text, ...] = ()
    """On smooth ground."""
    rough: tuple[Text, ...] = ()
    others: tuple[Face, ...] = ()
    """Faces that are not the main one."""

    @property
    def texts(self) -> tuple[Text, ...]:
        """All text."""
        return self.smooth + self.rough

    def __bool__(self) -> bool:
        return bool(self.texts or self.others)


class Clean(Spec):
    """Takes writing out of images that was not there when they were made, and faces that are not the subject's."""

    kinds: tuple[TextKind, ...] = KINDS
    """Which text goes: url (addresses and names of sites), watermark (the same at one place in many images), signature
    (small, at an edge), bubble (on white paper), text (all other: signs, prints on clothes)."""
    mask_out: bool = False
    """Leave the picture as it is, and make the text black in its training mask."""
    inpainter: str = "auto"
    """What paints on rough ground: a name on the shelf or a file (LaMa as .pt or .onnx); auto takes big-lama if it is
    on this machine, none does without."""
    text: bool = True
    """False leaves text alone."""
    faceless: bool = False
    """Blur every face but the main one."""
    faces: FinderKind = "auto"
    """How faces are found: as in drawings (anime), as in photos (photo), or as fits (auto)."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """One proposal for each image with something to clean.

        Raises:
            UsageError: a library or a model is missing; or there is nothing to look for.
        """
        if not (self.text or self.faceless):
            raise UsageError("nothing to clean: text = false and faceless = false", hint="--faceless blurs faces")
        noted: list[Event] = []
        finder = open_finder(self.faces, noted.append) if self.faceless else None
        painter = self._painter()
        yield from noted
        still = yield from stills(images)
        texts = yield from self._read(still) if self.text else _nothing(still)
        names = Names(images)
        for done, record in enumerate(still, 1):
            image = (yield from tried(record, images, opened_flat)) if texts[done - 1] or finder else None
            found = self._sorted(image, texts[done - 1], finder) if image is not None else Findings()
            if found.rough and painter is None and not self.mask_out:
                yield Warned(message=f"{images.name(record.path)}: {listed(found.rough, 4)}: {LEFT}")
                found = Findings(found.smooth, (), found.others)
            if found:
                changes = bool(found.others) or not self.mask_out
                to = names.claim(record) if changes else images.name(record.path)
                make = partial(self._make, record, images, to, found, painter)
                yield Proposal(images.name(record.path), self._why(found), make)
            if finder:
                yield Progress(what="looking for faces", done=done, total=len(still))

    def _read(self, images: ImageSet) -> Generator[Event, None, Lines]:
        """Looks for text in all images; gives the lines that are to go, for each."""
        finder, found, left = RapidText(), {}, 0
        for i, record in enumerate(images):
            image = yield from tried(record, images, opened_flat)
            found[i] = classified(finder(image), image) if image is not None else []
            yield Progress(what="looking for text", done=i + 1, total=len(images))
        told = marked(found, [(r.width, r.height) for r in images])
        left = sum(text.kind not in self.kinds for lines in told.values() for text in lines)
        if left:
            yield Noted(message=f"{left} lines of other text stay (signs, prints on clothes): --kind text takes them")
        return [[text for text in told[i] if text.kind in self.kinds] for i in range(len(images))]

    def _sorted(self, image: Image.Image, texts: Sequence[Text], finder: FaceFinder | None) -> Findings:
        """Text by the ground that it stands on, and other people's faces."""
        rough = {t for t in texts if visibility(image, t, texts) >= VISIBLE}
        others = finder(image)[1:] if finder else []
        return Findings(tuple(t for t in texts if t not in rough), tuple(t for t in texts if t in rough), tuple(others))

    def _painter(self) -> Inpainter | None:
        if not self.text or self.mask_out or self.inpainter == "none":
            return None
        if self.inpainter != "auto":
            return Inpainter(model_path(self.inpainter, "inpainter"))
        try:
            return Inpainter(model_path("big-lama", "inpainter"))
        except UsageError:
            return None

    def _why(self, found: Findings) -> str:
        parts = []
        if found.texts:
            parts.append(f"{listed(found.texts, 4)} {'left out of the loss' if self.mask_out else 'painted over'}")
        if found.others:
            parts.append(f"{counted(len(found.others), 'other face')} blurred")
        return "; ".join(parts)

    def _make(
        self, record: ImageRecord, images: ImageSet, to: PurePosixPath, found: Findings, painter: Inpainter | None
    ) -> list[Edit]:
        edits: list[Edit] = []
        if found.others or (found.texts and not self.mask_out):
            image = opened(record)
            if not self.mask_out:
                image = painted(image, found, painter)
            edits = replaced(record, images, to, faceless(image, found.others))
        if found.texts and self.mask_out:
            mask = masked_out(record, text_mask(found.texts, (record.width, record.height)))
            edits = masked(edits, record, images, to, mask)
        return edits


LEFT = "on rough ground, where painting would show; --mask-out keeps it out of the loss, --inpainter paints it"


def painted(image: Image.Image, found: Findings, painter: Inpainter | None) -> Image.Image:
    """The image without its text; transparency stays."""
    result = image.convert("RGB")
    if found.smooth:
        result = paint(result, letter_mask(result, found.smooth))
    if found.rough and painter is not None:
        result = painter(result, text_mask(found.rough, image.size))
    if image.mode == "RGBA":
        result.putalpha(image.getchannel("A"))
    return result


def masked_out(record: ImageRecord, text: Bytes) -> Image.Image:
    """The training mask of an image, as it has one, else all white, with the text in black."""
    mask = np.round(load_mask(record, unchanged_placement((record.width, record.height))) * 255).astype(np.uint8)
    return Image.fromarray(np.where(text > 0, 0, mask).astype(np.uint8))


def _nothing(images: ImageSet) -> Generator[Event, None, Lines]:
    yield from ()
    return [[] for _ in images]
