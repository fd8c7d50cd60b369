"""`dataset clean`: paint over text, mask it out of the loss or name it in captions; blur other people's faces."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Noted, Progress, Warned
from bakehouse.core.message_text import counted, listed
from bakehouse.core.model_catalogue import model_path
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal
from bakehouse.curation.clean.blur_faces import blur_faces
from bakehouse.curation.clean.fill_text import (
    VISIBLE_ERROR,
    Bytes,
    fill_background,
    fill_error,
    letter_mask,
    text_mask,
)
from bakehouse.curation.clean.tag_bubbles import add_tags, bubble_tags, can_be_tagged, missing_tags
from bakehouse.curation.open_records import open_on_white, open_or_skip, open_record
from bakehouse.curation.output_images import OutputNames, replace_image, replace_mask
from bakehouse.curation.skip_animated import still_images
from bakehouse.data.buckets import unchanged_placement
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.masks import load_mask
from bakehouse.vision.faces import Face, FaceDetector, FaceDetectorKind, load_face_detector
from bakehouse.vision.inpainting import Inpainter
from bakehouse.vision.text_detection import RapidOcrDetector, TextKind, TextRegion, classify_text, mark_watermarks

KINDS: tuple[TextKind, ...] = ("url", "watermark", "signature", "bubble")

TextByImage = list[list[TextRegion]]
"""The lines of text of each image."""


@dataclass(frozen=True)
class CleanTargets:
    """What to remove from one image."""

    smooth: tuple[TextRegion, ...] = ()
    """Text on a smooth background."""
    rough: tuple[TextRegion, ...] = ()
    """Text on a detailed background, which needs an inpainter."""
    other_faces: tuple[Face, ...] = ()
    """Faces other than the main one."""
    bubbles: tuple[TextRegion, ...] = ()
    """Lines in speech bubbles that stay and are tagged."""
    tags: tuple[str, ...] = ()
    """The tags that the caption gets for them."""

    @property
    def texts(self) -> tuple[TextRegion, ...]:
        """All lines of text."""
        return self.smooth + self.rough

    def __bool__(self) -> bool:
        return bool(self.texts or self.other_faces or self.tags)


class Clean(Spec):
    """Settings of `dataset clean`: remove text that was added to images, and blur faces other than the subject's."""

    kinds: tuple[TextKind, ...] = KINDS
    """Kinds of text to remove: url (addresses and site names), watermark (the same text in the same place of many
    images), signature (small, near an edge), bubble (on white), text (everything else: signs, prints on clothes)."""
    mask_out: bool = False
    """Keep the image unchanged and make the text black in its training mask."""
    inpainter: str = "auto"
    """Network for text on a detailed background: an installed model's name or a file (LaMa as .pt or .onnx).
    auto: big-lama if it is installed; none: no network."""
    text: bool = True
    """Whether to remove text."""
    tag_bubbles: bool = True
    """Whether captions name speech bubbles that cannot be painted over: `speech bubble`, and `spoken heart` beside it
    for one that holds a heart."""
    faceless: bool = False
    """Blur every face but the main one."""
    faces: FaceDetectorKind = "auto"
    """Face detector: for drawings (anime), for photos (photo), or chosen per image (auto)."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Propose to clean each image with text or other faces.

        Raises:
            UsageError: a library or a model is missing, or both text and faces are switched off.
        """
        if not (self.text or self.faceless):
            raise UsageError(
                "nothing to clean: text = false and faceless = false", hint="--faceless blurs other people's faces"
            )
        events: list[Event] = []
        detector = load_face_detector(self.faces, events.append) if self.faceless else None
        inpainter = self._load_inpainter()
        yield from events
        still = yield from still_images(images)
        texts = yield from self._detect_text(still) if self.text else _no_text(still)
        names = OutputNames(images)
        for done, record in enumerate(still, 1):
            image = (yield from open_or_skip(record, images, open_on_white)) if texts[done - 1] or detector else None
            found = self._find_targets(image, texts[done - 1], detector) if image is not None else CleanTargets()
            if found.rough and inpainter is None and not self.mask_out:
                found, kept = self._tag_bubbles(found, record, images)
                if kept:
                    yield Warned(message=f"{images.name(record.path)}: {listed(kept, 4)} {TEXT_KEPT}")
            if found:
                changes = bool(found.other_faces) or (bool(found.texts) and not self.mask_out)
                to = names.claim(record) if changes else images.name(record.path)
                make = partial(self._make, record, images, to, found, inpainter)
                yield Proposal(images.name(record.path), self._why(found), make)
            if detector:
                yield Progress(what="detecting faces", done=done, total=len(still))

    def _detect_text(self, images: ImageSet) -> Generator[Event, None, TextByImage]:
        """Detect text in all images; return the lines to remove from each."""
        detector, found = RapidOcrDetector(), {}
        for i, record in enumerate(images):
            image = yield from open_or_skip(record, images, open_on_white)
            found[i] = classify_text(detector(image), image) if image is not None else []
            yield Progress(what="detecting text", done=i + 1, total=len(images))
        lines = mark_watermarks(found, [(r.width, r.height) for r in images])
        kept = sum(text.kind not in self.kinds for texts in lines.values() for text in texts)
        if kept:
            other = f"{counted(kept, 'line')} of other text kept (signs, prints on clothes)"
            yield Noted(message=f"{other}: --kind text removes it")
        return [[text for text in lines[i] if text.kind in self.kinds] for i in range(len(images))]

    def _find_targets(
        self, image: Image.Image, texts: Sequence[TextRegion], detector: FaceDetector | None
    ) -> CleanTargets:
        """Return an image's text, split by its background, and other people's faces."""
        rough = {t for t in texts if fill_error(image, t, texts) >= VISIBLE_ERROR}
        others = detector(image)[1:] if detector else []
        return CleanTargets(
            tuple(t for t in texts if t not in rough), tuple(t for t in texts if t in rough), tuple(others)
        )

    def _tag_bubbles(
        self, found: CleanTargets, record: ImageRecord, images: ImageSet
    ) -> tuple[CleanTargets, list[TextRegion]]:
        """Return what to do without an inpainter, and the text that stays without a tag."""
        taggable = self.tag_bubbles and can_be_tagged(record, images)
        bubbles = tuple(t for t in found.rough if taggable and t.kind == "bubble")
        tags = missing_tags(record, bubble_tags(bubbles))
        kept = [t for t in found.rough if t not in bubbles]
        return CleanTargets(found.smooth, (), found.other_faces, bubbles, tags), kept

    def _load_inpainter(self) -> Inpainter | None:
        if not self.text or self.mask_out or self.inpainter == "none":
            return None
        if self.inpainter != "auto":
            return Inpainter(model_path(self.inpainter, "inpainter"))
        try:
            return Inpainter(model_path("big-lama", "inpainter"))
        except UsageError:
            return None

    def _why(self, found: CleanTargets) -> str:
        parts = []
        if found.texts:
            parts.append(f"{listed(found.texts, 4)} {'masked out of the loss' if self.mask_out else 'painted over'}")
        if found.tags:
            tags = " and ".join(f"`{tag}`" for tag in found.tags)
            parts.append(f"{listed(found.bubbles, 4)} cannot be painted over; caption tagged {tags}")
        if found.other_faces:
            parts.append(f"{counted(len(found.other_faces), 'other face')} blurred")
        return "; ".join(parts)

    def _make(
        self, record: ImageRecord, images: ImageSet, to: PurePosixPath, found: CleanTargets, inpainter: Inpainter | None
    ) -> list[Edit]:
        edits: list[Edit] = []
        if found.other_faces or (found.texts and not self.mask_out):
            image = open_record(record)
            if not self.mask_out:
                image = remove_text(image, found, inpainter)
            edits = replace_image(record, images, to, blur_faces(image, found.other_faces))
        if found.texts and self.mask_out:
            mask = mask_without_text(record, text_mask(found.texts, (record.width, record.height)))
            edits = replace_mask(edits, record, images, to, mask)
        return add_tags(edits, record, images, found.tags)


TEXT_KEPT = (
    "kept, because a simple fill would be visible on its detailed background; "
    "--mask-out masks it out of the loss, --inpainter paints over it"
)


def remove_text(image: Image.Image, found: CleanTargets, inpainter: Inpainter | None) -> Image.Image:
    """Return the image without its text; transparency is unchanged."""
    result = image.convert("RGB")
    if found.smooth:
        result = fill_background(result, letter_mask(result, found.smooth))
    if found.rough and inpainter is not None:
        result = inpainter(result, text_mask(found.rough, image.size))
    if image.mode == "RGBA":
        result.putalpha(image.getchannel("A"))
    return result


def mask_without_text(record: ImageRecord, text: Bytes) -> Image.Image:
    """Return the training mask of an image (all white if it has none) with the text in black."""
    mask = np.round(load_mask(record, unchanged_placement((record.width, record.height))) * 255).astype(np.uint8)
    return Image.fromarray(np.where(text > 0, 0, mask).astype(np.uint8))


def _no_text(images: ImageSet) -> Generator[Event, None, TextByImage]:
    yield from ()
    return [[] for _ in images]
