"""Who looks for faces and for text: whatever is installed. What is not is said, with the way to have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from PIL import Image

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.image_facts import Box
from bakehouse.core.errors import UsageError
from bakehouse.vision.faces import load_face_detector
from bakehouse.vision.text_detection import RapidOcrDetector, TextRegion, classify_text

T = TypeVar("T")

_SECONDS = {"faces": 0.5, "text": 2.0}
"""For one image of a megapixel on one core, about."""


@dataclass(frozen=True)
class Finders:
    """Those at work, and why the others are not."""

    find_faces: Callable[[Image.Image], tuple[Box, ...]] | None = None
    find_texts: Callable[[Image.Image], tuple[TextRegion, ...]] | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """Reasons by `faces` and `text`."""

    @property
    def names(self) -> frozenset[str]:
        """What is looked for."""
        at_work = {"faces": self.find_faces, "text": self.find_texts}
        return frozenset(what for what, finder in at_work.items() if finder is not None)

    def faces(self, image: Image.Image) -> tuple[Box, ...] | None:
        """Faces of an RGB image; None where nobody looks."""
        return None if self.find_faces is None else self.find_faces(image)

    def texts(self, image: Image.Image) -> tuple[TextRegion, ...] | None:
        """Text of an RGB image, told apart by what it is there for; None where nobody looks."""
        return None if self.find_texts is None else self.find_texts(image)


def installed_finders(spec: AuditSpec, images: int) -> Finders:
    """Those that are on this machine and that the audit asks for.

    Args:
        spec: what it asks for.
        images: how many there are: finders are slow, and many images are searched only if somebody says so.

    Raises:
        UsageError: what was asked for expressly is not installed.
    """
    missing: dict[str, str] = {}
    faces = texts = None
    if not (reason := _unwanted("faces", spec.faces, spec.slow, images)):
        reason, faces = _opened(_faces, spec.faces)
    missing |= {"faces": reason} if reason else {}
    if not (reason := _unwanted("text", spec.text, spec.slow, images)):
        reason, texts = _opened(_texts, spec.text)
    missing |= {"text": reason} if reason else {}
    return Finders(faces, texts, missing)


def _unwanted(what: str, wanted: bool | None, slow: int, images: int) -> str:
    if wanted is False:
        return f"--no-{what} was said"
    if wanted is None and images > slow:
        minutes = max(1, round(images * _SECONDS[what] / 60))
        return f"to look for {what} in {images:,} images takes about {minutes} min: --{what} does it"
    return ""


def _opened(make: Callable[[], T], wanted: bool | None) -> tuple[str, T | None]:
    """Why a finder cannot be had, or the finder."""
    try:
        return "", make()
    except UsageError as e:
        if wanted:
            raise
        return (f"{e.message}; {e.hint}" if e.hint else e.message), None


def _faces() -> Callable[[Image.Image], tuple[Box, ...]]:
    finder = load_face_detector()

    def faces(image: Image.Image) -> tuple[Box, ...]:
        width, height = image.size
        boxes = [(face.box, face.score) for face in finder(image)]
        return tuple(Box(b[0] / width, b[1] / height, b[2] / width, b[3] / height, score) for b, score in boxes)

    return faces


def _texts() -> Callable[[Image.Image], tuple[TextRegion, ...]]:
    reader = RapidOcrDetector()
    return lambda image: tuple(classify_text(reader(image), image))
