"""Which finder looks for faces, and what it is when one of them is not on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Noted, OnEvent, ignore
from bakehouse.core.model_catalogue import model_path
from bakehouse.vision.faces.anime import AnimeFaces
from bakehouse.vision.faces.face import Face, FaceFinder
from bakehouse.vision.faces.photo import PhotoFaces

FinderKind = Literal["auto", "anime", "photo"]
_MAKERS: dict[str, tuple[str, Callable[[Path], FaceFinder]]] = {
    "anime": ("animeface", AnimeFaces),
    "photo": ("centerface", PhotoFaces),
}
SURELY_A_PHOTO = 0.7
"""What the finder of photographed faces gives real ones (0.79 and more on six photos), and never gave a drawn one
(0.63 at most); the finder of drawn ones is as sure of a pattern on a dress as of a face."""
_WHERE = {"anime": "drawings", "photo": "photos"}


class EitherFaces:
    """Finds faces in a mixed folder, each image as what it is."""

    def __init__(self, photo: FaceFinder, anime: FaceFinder) -> None:
        self.photo, self.anime = photo, anime

    def __call__(self, image: Image.Image) -> list[Face]:
        """Every face of the finder that fits the image, the main one first."""
        found = self.photo(image)
        if found and max(face.score for face in found) >= SURELY_A_PHOTO:
            return found
        return self.anime(image) or found


def open_finder(kind: FinderKind = "auto", on_event: OnEvent = ignore) -> FaceFinder:
    """A finder of faces in drawings, in photos, or in both.

    Args:
        kind: `auto` looks for surely photographed faces, then for drawn ones, then for doubtful photographed ones.
        on_event: called with a note where `auto` finds only one of the two models.

    Raises:
        UsageError: what it needs is not on this machine; says how to have it.
    """
    if kind != "auto":
        return _open(kind)
    found: dict[str, FaceFinder] = {}
    missing: dict[str, UsageError] = {}
    for name in _MAKERS:
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
        on_event(Noted(message=f"faces are looked for in {_WHERE[only]} alone, not in {_WHERE[name]}: {hint}"))
    return next(iter(found.values())) if missing else EitherFaces(photo=found["photo"], anime=found["anime"])


def _open(name: str) -> FaceFinder:
    model, make = _MAKERS[name]
    return make(model_path(model, "faces"))
