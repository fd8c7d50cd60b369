"""Detected faces and the protocol of face detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the upright image."""


@dataclass(frozen=True)
class Face:
    """A detected face."""

    box: Box
    """From the brows to the chin, about as wide as it is high."""
    score: float
    """Confidence of the detector, 0..1."""

    @property
    def width(self) -> float:
        """In pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """In pixels; the unit of crop framings."""
        return self.box[3] - self.box[1]

    @property
    def center(self) -> tuple[float, float]:
        """Centre of the box."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


class FaceDetector(Protocol):
    """Detects faces in an upright RGB image; thread-safe."""

    def __call__(self, image: Image.Image) -> list[Face]:
        """Return all faces, the main one first."""
        ...


def rank_faces(faces: Sequence[Face]) -> list[Face]:
    """Return the faces sorted by area times score, the main face first."""
    return sorted(faces, key=lambda f: (-f.width * f.height * f.score, f.box))
