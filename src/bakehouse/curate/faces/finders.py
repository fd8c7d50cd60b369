"""Which finder looks for faces, and what it is when one of them is not on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PIL import Image

from bakehouse.core.catalogue import model_path
from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Noted
from bakehouse.curate.faces.anime import AnimeFaces
from bakehouse.curate.faces.face import Face, FaceFinder
from bakehouse.curate.faces.photo import PhotoFaces

FinderKind = Literal["auto", "anime", "photo"]
_MAKERS: dict[str, tuple[str, Callable[[Path], FaceFinder]]] = {
    "anime": ("animeface", AnimeFaces),
    "photo": ("centerface", PhotoFaces),
}


class EitherFaces:
    """Looks as the first finder does, and where that finds none as the second one."""

    def __init__(self, first: FaceFinder, second: FaceFinder) -> None:
        self.first, self.second = first, second

    def __call__(self, image: Image.Image) -> list[Face]:
        """Every face of the first finder that finds any, the main one first."""
        return self.first(image) or self.second(image)


def open_finder(kind: FinderKind = "auto", tell: Callable[[Event], None] = lambda _: None) -> FaceFinder:
    """A finder of faces in drawings, in photos, or in both.

    Args:
        kind: `auto` looks for drawn faces first, and for photographed ones where there are none.
        tell: hears it when `auto` has only one of the two.

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
    for name, e in missing.items():
        other = next(iter(found))
        tell(Noted(message=f"faces are looked for as in {other}s only, not as in {name}s: {e.message} ({e.hint})"))
    return EitherFaces(*found.values()) if len(found) == 2 else next(iter(found.values()))


def _open(name: str) -> FaceFinder:
    model, make = _MAKERS[name]
    return make(model_path(model, "faces"))
