"""Which finder looks for faces, and what it is when one of them is not on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Noted
from bakehouse.core.model_catalogue import model_path
from bakehouse.vision.faces.anime import AnimeFaceDetector
from bakehouse.vision.faces.face import Face, FaceDetector
from bakehouse.vision.faces.photo import PhotoFaceDetector

FaceDetectorKind = Literal["auto", "anime", "photo"]
_DETECTORS: dict[str, tuple[str, Callable[[Path], FaceDetector]]] = {
    "anime": ("animeface", AnimeFaceDetector),
    "photo": ("centerface", PhotoFaceDetector),
}
PHOTO_FACE_SCORE = 0.7
"""What the finder of photographed faces gives real ones (0.79 and more on six photos), and never gave a drawn one
(0.63 at most); the finder of drawn ones is as sure of a pattern on a dress as of a face."""
_IMAGES_OF = {"anime": "drawings", "photo": "photos"}


class MixedFaceDetector:
    """Finds faces in a mixed folder, each image as what it is."""

    def __init__(self, photo: FaceDetector, anime: FaceDetector) -> None:
        self.photo, self.anime = photo, anime

    def __call__(self, image: Image.Image) -> list[Face]:
        """Every face of the finder that fits the image, the main one first."""
        found = self.photo(image)
        if found and max(face.score for face in found) >= PHOTO_FACE_SCORE:
            return found
        return self.anime(image) or found


def load_face_detector(kind: FaceDetectorKind = "auto", tell: Callable[[Event], None] = lambda _: None) -> FaceDetector:
    """A finder of faces in drawings, in photos, or in both.

    Args:
        kind: `auto` looks for surely photographed faces, then for drawn ones, then for doubtful photographed ones.
        tell: hears it when `auto` has only one of the two.

    Raises:
        UsageError: what it needs is not on this machine; says how to have it.
    """
    if kind != "auto":
        return _open(kind)
    found: dict[str, FaceDetector] = {}
    missing: dict[str, UsageError] = {}
    for name in _DETECTORS:
        try:
            found[name] = _open(name)
        except UsageError as e:
            missing[name] = e
    if not found:
        raise UsageError(
            "no finder of faces is on this machine: " + "; ".join(e.message for e in missing.values()),
            hint="bakehouse models fetch animeface centerface   (drawings; photos)",
        )
    for name, reason in missing.items():
        only = next(iter(found))
        hint = f"{reason.message} ({reason.hint})"
        tell(Noted(message=f"faces are looked for in {_IMAGES_OF[only]} alone, not in {_IMAGES_OF[name]}: {hint}"))
    return next(iter(found.values())) if missing else MixedFaceDetector(photo=found["photo"], anime=found["anime"])


def _open(name: str) -> FaceDetector:
    model, make = _DETECTORS[name]
    return make(model_path(model, "faces"))
