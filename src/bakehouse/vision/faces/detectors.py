"""Load the face detectors that are installed, and choose between them per image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Noted, OnEvent, ignore
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
"""Score of the photo detector from which an image counts as a photo. Measured: at least 0.79 for real faces in six
photos, at most 0.63 for drawn ones. The detector for drawings scores a pattern on a dress as high as a face."""
_IMAGES_OF = {"anime": "drawings", "photo": "photos"}


class MixedFaceDetector:
    """Detects faces in photos and drawings, choosing the detector per image."""

    def __init__(self, photo: FaceDetector, anime: FaceDetector) -> None:
        self.photo, self.anime = photo, anime

    def __call__(self, image: Image.Image) -> list[Face]:
        """Return the faces of the detector that fits the image, the main one first."""
        found = self.photo(image)
        if found and max(face.score for face in found) >= PHOTO_FACE_SCORE:
            return found
        return self.anime(image) or found


def load_face_detector(kind: FaceDetectorKind = "auto", on_event: OnEvent = ignore) -> FaceDetector:
    """Load a face detector for drawings, for photos, or for both.

    Args:
        kind: `auto` prefers photo faces with a high score, then drawn faces, then photo faces with a lower score.
        on_event: called with a note if `auto` finds only one of the two detectors installed.

    Raises:
        UsageError: no detector is installed; names the command that installs it.
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
            "no face detector is installed",
            hint="bakehouse models fetch animeface centerface (for drawings and for photos)",
        )
    for name, reason in missing.items():
        only = next(iter(found))
        hint = f"{reason.message} ({reason.hint})"
        on_event(Noted(message=f"faces are detected in {_IMAGES_OF[only]} only, not in {_IMAGES_OF[name]}: {hint}"))
    return next(iter(found.values())) if missing else MixedFaceDetector(photo=found["photo"], anime=found["anime"])


def _open(name: str) -> FaceDetector:
    model, make = _DETECTORS[name]
    return make(model_path(model, "faces"))
