"""The face and text detectors of an audit: those that are installed, and why the others do not run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from PIL import Image

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.facts import Box
from bakehouse.core.errors import UsageError
from bakehouse.vision.faces import load_face_detector
from bakehouse.vision.text_detection import RapidOcrDetector, TextRegion, classify_text

T = TypeVar("T")

_SECONDS = {"faces": 0.5, "text": 2.0}
"""About, for one image of a megapixel on one core."""


@dataclass(frozen=True)
class Detectors:
    """The detectors that run, and why the others do not."""

    detect_faces: Callable[[Image.Image], tuple[Box, ...]] | None = None
    detect_texts: Callable[[Image.Image], tuple[TextRegion, ...]] | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """Reasons by `faces` and `text`."""

    @property
    def names(self) -> frozenset[str]:
        """The kinds that are detected: `faces`, `text`."""
        detectors = {"faces": self.detect_faces, "text": self.detect_texts}
        return frozenset(kind for kind, detector in detectors.items() if detector is not None)

    def faces(self, image: Image.Image) -> tuple[Box, ...] | None:
        """Return the faces of an RGB image; None if faces are not detected."""
        return None if self.detect_faces is None else self.detect_faces(image)

    def texts(self, image: Image.Image) -> tuple[TextRegion, ...] | None:
        """Return the texts of an RGB image, classified (sign, signature, ...); None if text is not detected."""
        return None if self.detect_texts is None else self.detect_texts(image)


def installed_detectors(spec: AuditSpec, images: int) -> Detectors:
    """Return the detectors that are installed and that the audit's settings ask for.

    Args:
        spec: the audit's settings.
        images: their number: detectors are slow, so they run on many images only if asked to.

    Raises:
        UsageError: a detector that was asked for is not installed.
    """
    missing: dict[str, str] = {}
    faces = texts = None
    if not (reason := _why_not("faces", spec.faces, spec.slow, images)):
        reason, faces = _open(_faces, spec.faces)
    missing |= {"faces": reason} if reason else {}
    if not (reason := _why_not("text", spec.text, spec.slow, images)):
        reason, texts = _open(_texts, spec.text)
    missing |= {"text": reason} if reason else {}
    return Detectors(faces, texts, missing)


def _why_not(kind: str, wanted: bool | None, slow: int, images: int) -> str:
    """Return why a detector does not run; empty if it does."""
    if wanted is False:
        return f"switched off by --no-{kind}"
    if wanted is None and images > slow:
        minutes = max(1, round(images * _SECONDS[kind] / 60))
        return f"detecting {kind} in {images:,} images takes about {minutes} min: pass --{kind} to do it"
    return ""


def _open(make: Callable[[], T], wanted: bool | None) -> tuple[str, T | None]:
    """Return an empty reason and the detector, or the reason why it is not available."""
    try:
        return "", make()
    except UsageError as e:
        if wanted:
            raise
        return (f"{e.message}; {e.hint}" if e.hint else e.message), None


def _faces() -> Callable[[Image.Image], tuple[Box, ...]]:
    detector = load_face_detector()

    def faces(image: Image.Image) -> tuple[Box, ...]:
        width, height = image.size
        boxes = [(face.box, face.score) for face in detector(image)]
        return tuple(Box(b[0] / width, b[1] / height, b[2] / width, b[3] / height, score) for b, score in boxes)

    return faces


def _texts() -> Callable[[Image.Image], tuple[TextRegion, ...]]:
    reader = RapidOcrDetector()
    return lambda image: tuple(classify_text(reader(image), image))
